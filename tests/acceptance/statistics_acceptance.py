"""How often the statistics are right, by simulation: coverage of intervals, error rates of `check`, the permutation test.

    python tests/acceptance/statistics_acceptance.py [--trials 400]

A group's samples share a chance of being right, drawn from a Beta distribution whose mean is the true share and whose
intra-group correlation is as stated (0: the samples are independent). Exit code 1 when a bound is missed.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

from harbench.evaluation import intervals
from harbench.evaluation.intervals import sign_flip
from harbench.reporting.verdicts import PRIOR, judge

SHARES = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
GROUPS = {9: 10, 25: 8, 41: 16, 100: 8}
"""Number of groups -> samples of each."""
COVERAGE = (92.5, 97.0)
"""Percent of intervals that hold the truth, averaged over the true shares."""
MARGIN = 2.0
Row = tuple[str, Sequence[float], float, float, float]
"""What, single values, the one that is bounded, and its bounds."""


def answers(
    groups: int, size: int, share: float, correlation: float, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Whether each sample is right, `[groups * size]`, the samples of a group together."""
    odds = 1 / correlation - 1 if correlation else 0.0
    able = rng.beta(share * odds, (1 - share) * odds, groups) if odds else np.full(groups, share)
    return (rng.random((groups, size)) < able[:, None]).ravel()


def covered(trials: int, once: Callable[[float], tuple[float, float, str]]) -> list[float]:
    """Percent of intervals that hold each true share."""
    found = []
    for share in SHARES:
        limits = [once(share)[:2] for _ in range(trials)]
        found.append(100 * float(np.mean([low <= 100 * share <= high for low, high in limits])))
    return found


def coverage(trials: int) -> list[Row]:
    """One split: a line for each number of groups and correlation."""
    rows = []
    for correlation in (0.0, 0.5):
        for groups, size in GROUPS.items():
            rng = np.random.default_rng([groups, int(10 * correlation)])
            names = [f"g{row // size}" for row in range(groups * size)]

            def once(share: float) -> tuple[float, float, str]:
                return intervals.interval(answers(groups, size, share, correlation, rng), names)  # noqa: B023

            values = covered(trials if groups >= 30 else 5 * trials, once)  # without a bootstrap they cost little
            rows.append((f"{groups} groups of {size}, ICC {correlation}", values, float(np.mean(values)), *COVERAGE))
    return rows


def joint_coverage(trials: int) -> list[Row]:
    """The mean of three splits that share a third of their groups, whose samples are as hard in each."""
    rows = []
    for correlation in (0.0, 0.5):
        rng = np.random.default_rng([3, int(10 * correlation)])

        def once(share: float) -> tuple[float, float, str]:
            hits = answers(90, 8, share, correlation, rng).reshape(90, 8)  # noqa: B023
            parts = []
            for start in (0, 20, 40):  # 50 groups each, of which the next has 30 too
                chosen = range(start, start + 50)
                parts.append((hits[start : start + 50].ravel(), [f"g{group}" for group in chosen for _ in range(8)]))
            return intervals.joint_interval(parts)

        values = covered(trials, once)
        rows.append((f"mean of 3 splits, ICC {correlation}", values, float(np.mean(values)), *COVERAGE))
    return rows


def verdict_rates(trials: int) -> list[Row]:
    """Percent of REPRODUCED and BELOW where the truth is so far below the published number."""
    promised = {0.0: (None, 5.0), 0.5: (None, 5.0), 1.0: (5.0, 5.0), 2.0: (5.0, None)}
    noise = 100 * 2.6 * float(np.sqrt(0.05 * 0.95 / trials))
    rows: list[Row] = []
    for seeds in (1, 3, 5):
        rng = np.random.default_rng(seeds)
        for gap, (most_reproduced, most_below) in promised.items():
            own = 80 - gap * MARGIN + PRIOR * rng.standard_normal((trials, seeds))
            published = 80 + PRIOR * rng.standard_normal(trials)
            spread = own.std(axis=1, ddof=1) if seeds > 1 else [None] * trials
            states = Counter(
                judge(float(mean), None if s is None else float(s), seeds, float(target), MARGIN).state
                for mean, s, target in zip(own.mean(axis=1), spread, published, strict=True)
            )
            shares = [100 * states[state] / trials for state in ("REPRODUCED", "INCONCLUSIVE", "BELOW")]
            what = f"{seeds} seed{'s' * (seeds > 1)}, {gap:g} margins below"
            for value, most, state in ((shares[0], most_reproduced, "REPRODUCED"), (shares[2], most_below, "BELOW")):
                if most is not None:
                    rows.append((f"{what}: {state}", shares, value, 0.0, most + noise))
    return rows


def permutation(trials: int) -> list[Row]:
    """Largest difference to scipy's enumeration of all sign vectors, of 2 to 12 groups."""
    rng = np.random.default_rng(0)
    apart = []
    for _ in range(max(20, trials // 10)):
        sums = rng.integers(-6, 7, int(rng.integers(2, 13)))
        exact = stats.permutation_test(
            (sums,), lambda x, axis: np.sum(x, axis=axis), permutation_type="samples", n_resamples=np.inf
        ).pvalue
        apart.append(abs(sign_flip(sums) - min(1.0, float(exact))))
    return [(f"sign flips, {len(apart)} data sets: largest difference", [], max(apart), 0.0, 1e-9)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--trials", type=int, default=400, help="bootstraps a cell; what costs less is tried more often"
    )
    parser.add_argument("--resamples", type=int, default=999, help="of a bootstrap; harbench takes 9,999")
    options = parser.parse_args()
    intervals._RESAMPLES = options.resamples
    missed = 0
    print(f"coverage at {', '.join(map(str, SHARES))}; REPRODUCED, INCONCLUSIVE, BELOW; percent\n")
    print("| what | single values | bounded value | has to be |\n|---|---|---|---|")
    for rows in (coverage, joint_coverage, lambda trials: verdict_rates(10 * trials), permutation):
        for what, values, value, low, high in rows(options.trials):
            missed += not low <= value <= high
            single = ", ".join(f"{each:.1f}" for each in values)
            mark = "" if low <= value <= high else " MISSED"
            print(f"| {what} | {single} | {value:.4g}{mark} | {low:g} to {high:.4g} |", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
