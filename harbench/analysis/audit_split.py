"""`splits --audit`: somebody's split of a known data set, and clips of it that look alike on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harbench import paths
from harbench.errors import CacheError, DatasetError
from harbench.records import Track, silent

if TYPE_CHECKING:
    from harbench.analysis.audit import Claim, SplitAudit
    from harbench.datasets.parse import Row
    from harbench.frames.duplicates import Duplicates


@dataclass(frozen=True)
class AuditReport:
    """What somebody's lists or folders do."""

    splits: tuple[SplitAudit, ...]
    ignored: tuple[str, ...]
    """Files that say nothing about train and test."""
    duplicates: dict[str, Duplicates]
    """Split -> candidates for near duplicates; empty where they were not asked for. No reason for an exit code."""


def audit(
    name: str, sources: Sequence[str], *, home: Path, duplicates: bool = False, track: Track = silent
) -> AuditReport:
    """Measure somebody's split of the data set `name`: what it leaks, and of which official split it sees the test.

    Needs no media, but for `duplicates`: then the frames of the largest cache under `home` are compared.

    Raises:
        DatasetError: there is no split in `sources`, or none of its names is one of the data set.
        CacheError: `duplicates` without a frame cache.
    """
    from harbench.analysis.audit import audit_claim, read_claims
    from harbench.datasets.tables import load_rows, load_spec

    spec = load_spec(name, home)
    rows = load_rows(name, home)
    claims, ignored = read_claims(sources)
    overlapping = {other: _rows_if_known(other, home) for other in spec.overlaps}
    found = tuple(
        audit_claim(name, split, claim, rows, group=spec.group, shared_source=spec.source, overlapping=overlapping)
        for split, claim in claims.items()
    )
    alike = {}
    if duplicates:
        alike = {split: _duplicates(name, claim, rows, spec.source, home, track) for split, claim in claims.items()}
    return AuditReport(found, ignored, alike)


def _rows_if_known(dataset: str, home: Path) -> list[Row] | None:
    from harbench.datasets.tables import load_rows

    try:
        return load_rows(dataset, home)
    except DatasetError:
        return None


def _duplicates(name: str, claim: Claim, rows: Sequence[Row], source: str, home: Path, track: Track) -> Duplicates:
    """Candidates between the test and the other media of one split."""
    from harbench.analysis.audit import match_names
    from harbench.frames.cache import open_cache
    from harbench.frames.duplicates import find_duplicates

    caches = sorted(home.joinpath(name, "cache").glob("rgb-*"), key=_short_side)
    if not caches:
        raise CacheError(
            f"--duplicates compares frames, and there is no frame cache under {paths.cache_folder(home, name, '')}.\n"
            f"Make it:  harbench prepare {name}"
        )
    sides = {side: match_names(rows, names)[0] for side, names in claim.items()}
    test = sides.pop("test")
    train = {media: row for side in sides.values() for media, row in side.items() if media not in test}
    looks = {m: (row.group.partition("/")[2] if source else row.group) for m, row in (train | test).items()}
    labels = {media: row.label for media, row in (train | test).items()}
    return find_duplicates(open_cache(caches[-1]), tuple(train), tuple(test), looks, labels, track=track)


def _short_side(cache: Path) -> float:
    """Pixels of the short side that a cache's name ends with; `native` is more than any."""
    side = cache.name.rpartition("-")[2]
    return float(side) if side.isdigit() else float("inf")


def audit_text(report: AuditReport) -> str:
    """The report for people."""
    lines = [text for split in report.splits for text in _split_lines(split)]
    for split, found in report.duplicates.items():
        lines += [f"{split}: {len(found.pairs)} near-duplicate candidates ({found.basis}); look at them yourself"]
        lines += [f"  {pair.distance:4.1f}  {pair.test}  {pair.train}" for pair in found.pairs[:20]]
    if report.ignored:
        lines.append(f"not read as part of a split: {', '.join(report.ignored[:8])}")
    return "\n".join(lines)


def _split_lines(a: SplitAudit) -> list[str]:
    counts = ", ".join(f"{count} {subset}" for subset, count in a.counts.items())
    lines = [f"{a.dataset} {a.name}: {counts}" + (f"; the same as the official {a.same_as}" if a.same_as else "")]
    if a.unknown:
        lines.append(f"  unknown    {len(a.unknown)} names, e.g. {', '.join(a.unknown[:3])}")
    if a.shared:
        lines.append(f"  both       {a.shared} media are in train and in test")
    if a.leaked_percent is None:
        lines.append("  leaked     cannot be told: the publisher gives no groups")
    else:
        lines.append(f"  leaked     {a.leaked_percent:.2f} % of test ({a.leaked}) shares its {a.group} with train")
    if a.across_classes:
        lines.append(f"  sources    {a.across_classes} in test have theirs in train under another class")
    for split, count in a.official_test.items():
        if count:
            lines.append(f"  official   {count} media in train are in the test of the official {split}")
    lines += [f"  overlap    {count} media in train are in the test of {where}" for where, count in a.overlaps.items()]
    if a.unlisted:
        lines.append(
            f"  overlap    {', '.join(a.unlisted)} share clips with {a.dataset}; harbench has no table of them"
        )
    if a.random_percent is not None:
        lines.append(f"  random     a random 80/20 split of this data set leaks {a.random_percent:.2f} %")
    for side, classes in a.absent_classes.items():
        if classes:
            lines.append(f"  classes    {len(classes)} have no {side} sample: {', '.join(classes[:5])}")
    return lines
