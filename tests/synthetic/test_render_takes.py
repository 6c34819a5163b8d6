"""What a take of `sample` is: everything but the motion has the same distribution for every action."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ks_2samp
from sklearn.neural_network import MLPClassifier

from harbench.datasets.sample import (
    BIASED_SHARE,
    CLASSES,
    GAITS,
    PERSONS,
    REVERSED,
    SCENARIOS,
    SPEC,
    TEST_PERSONS,
    Part,
    backdrop,
    media_name,
    split_rows,
)
from harbench.reporting.published import load_published
from harbench.synthetic import draw, media, motion
from harbench.synthetic.persons import GAIT_RATES, PERSON_SIGMA, TAKE_SIGMA, oracle_accuracy, person
from harbench.synthetic.take import HEIGHT, MAX_FRAMES, MIN_FRAMES, WIDTH, Take, make_take

PARTS: tuple[Part, ...] = ("r1", "r2")


@pytest.fixture(scope="module")
def takes() -> dict[tuple[str, int], list[Take]]:
    """All takes of the official split, by action and person."""
    actions = [label for label in CLASSES if label != REVERSED[1]]
    return {
        (label, number): [make_take(label, number, scenario, part) for scenario in SCENARIOS for part in PARTS]
        for label in actions
        for number in PERSONS
    }


def of_action(takes: dict[tuple[str, int], list[Take]], label: str) -> list[Take]:
    return [take for (action, _), group in takes.items() if action == label for take in group]


@pytest.mark.parametrize(
    "value",
    [
        lambda take: len(take.scale),
        lambda take: take.scale[0] * take.who.height,
        lambda take: take.origin[0, 0],
        lambda take: take.origin[0, 1],
        lambda take: abs(take.origin[-1, 0] - take.origin[0, 0]),
        lambda take: np.ptp(take.shake[:, 0]),
        lambda take: np.abs(np.diff(take.shake[:, 1])).mean(),
        lambda take: take.scale[-1] / take.scale[0],
        lambda take: take.light,
    ],
    ids=["length", "size", "x", "y", "displacement", "shake", "shake speed", "growth", "light"],
)
def test_everything_but_the_motion_has_equal_marginals(takes: dict[tuple[str, int], list[Take]], value) -> None:  # type: ignore[no-untyped-def]
    values = {label: [value(take) for take in of_action(takes, label)] for label in CLASSES if label != REVERSED[1]}
    for label in ("jog", "run", "box", "wave", "clap", "sit_down"):
        assert ks_2samp(values["walk"], values[label]).pvalue > 1e-3, label


def test_gaits_are_one_manifold() -> None:
    phase = np.linspace(0, 2 * np.pi, 50)
    walk, jog, run = (motion.joints(motion.pose_at(label, phase, person(3)), person(3)) for label in GAITS)
    assert np.array_equal(walk, jog)
    assert np.array_equal(walk, run)
    assert np.ptp(walk, axis=0).max() > 0.3, "the legs must move"


def test_only_the_rate_separates_the_gaits(takes: dict[tuple[str, int], list[Take]]) -> None:
    for label in GAITS:
        rates = np.array([take.rate for take in of_action(takes, label)])
        assert np.log(rates).mean() == pytest.approx(math.log(GAIT_RATES[label]), abs=0.03)
        assert np.log(rates).std() == pytest.approx(math.hypot(PERSON_SIGMA, TAKE_SIGMA), abs=0.03)


@pytest.mark.parametrize("split", SPEC.splits)
def test_the_published_oracle_is_what_the_parameters_give(split: str) -> None:
    """Nearest class in the logarithm of the true rate; on `random` it knows each person's cadence."""
    log_rates = np.log(list(GAIT_RATES.values()))
    rows = [row for row in split_rows() if row[split] == "test"]
    right = 0
    for row in rows:
        if row["class"] not in GAITS:
            right += 1
            continue
        part = "biased" if split == "biased" else row["media"].removesuffix(".avi")[-2:]
        scenario = int(row["media"].split("_d")[-1][0])
        take = make_take(row["class"], int(row["group"].removeprefix("person")), scenario, part)
        rate = take.rate / (take.who.cadence if split == "random" else 1)
        right += bool(np.abs(np.log(rate) - log_rates).argmin() == GAITS.index(row["class"]))
    published = {result.key.split_set: result.value for result in load_published("sample")}
    assert published[split] == pytest.approx(100 * right / len(rows), abs=0.005)
    assert (published[split] == 100) if split == "random" else (96 < published[split] < 99)


def test_the_oracle_in_closed_form() -> None:
    assert 0.96 < oracle_accuracy(knows_person=False) < 0.99
    assert oracle_accuracy(knows_person=True) > 0.999


def test_lengths_and_cadences_stay_in_range(takes: dict[tuple[str, int], list[Take]]) -> None:
    lengths = {len(take.scale) for group in takes.values() for take in group}
    assert min(lengths) >= MIN_FRAMES
    assert max(lengths) <= MAX_FRAMES
    for test in (True, False):
        factors = [math.log(person(p).cadence) for p in PERSONS if (p in TEST_PERSONS) == test]
        assert np.mean(factors) == pytest.approx(0, abs=1e-9), "no subset may be slower than the other"


def test_persons_stay_in_the_picture(takes: dict[tuple[str, int], list[Take]]) -> None:
    points = np.concatenate(
        [take.points()[:, motion.COCO].reshape(-1, 2) for group in takes.values() for take in group]
    )
    outside = ((points < 0) | (points >= [WIDTH, HEIGHT])).any(axis=1).mean()
    assert outside < 0.005


def test_sitting_down_is_symmetrical_in_time() -> None:
    take = make_take("sit_down", 4, 1, "r1")
    assert make_take("stand_up", 4, 1, "r1").rate == take.rate
    height = take.joints[:, motion.BASE, 1]
    assert height[0] > 1.5 * height[-1]
    assert (height == height[0]).sum() == (height == height[-1]).sum()


def test_true_joints_lie_on_the_drawn_person() -> None:
    inside = []
    for label in ("walk", "box", "wave", "clap", "sit_down"):
        take = make_take(label, 7, 2, "r1").only(20)
        mask = draw.as_mask(draw.mask_canvas(take))
        x, y = np.floor(take.points()[0, list(motion.COCO[5:])]).astype(int).T
        seen = (x >= 0) & (x < WIDTH) & (y >= 0) & (y < HEIGHT)
        inside += (mask[y[seen], x[seen]] == 255).tolist()
    assert np.mean(inside) > 0.97
    assert len(inside) > 50


def test_observed_joints_are_jittered_truth_or_lost() -> None:
    take = make_take("wave", 2, 1, "r1")
    observed = media.observed_joints(take, "wave/person02_wave_d1_r1.avi")
    assert observed.dtype == np.float32
    assert observed.shape == (len(take.scale), 1, 17, 3)
    lost = observed[:, 0, :, 2] == 0
    assert 0.02 < lost.mean() < 0.15
    assert not observed[:, 0][lost].any()
    error = (observed[:, 0, :, :2] - take.points()[:, list(motion.COCO)])[~lost]
    assert error.std() == pytest.approx(media.JITTER, rel=0.1)
    assert np.array_equal(observed, media.observed_joints(take, "wave/person02_wave_d1_r1.avi"))


def test_skeletons_have_empty_frames_and_two_bodies() -> None:
    take = make_take("walk", 5, 1, "r1")
    frames = media.skeleton(take, "walk", two_bodies=True)
    assert {len(bodies) for bodies in frames} == {0, 1, 2}
    ids = {b.body_id for bodies in frames for b in bodies}
    assert len(ids) == 2
    assert min(ids) > 2**53, "ids must need 64 bits"
    assert len({bodies[0].body_id for bodies in frames if bodies}) == 2, "slots must swap"
    first = [b for bodies in frames for b in bodies if b.body_id == min(ids)] or []
    shins = [np.linalg.norm(b.joints[13, :3] - b.joints[14, :3]) for b in first]
    assert np.std(shins) < 0.03
    assert 2 < np.mean([b.joints[:, 2].mean() for b in first]) < 4


def test_a_single_pose_tells_neither_speed_nor_direction(takes: dict[tuple[str, int], list[Take]]) -> None:
    """The fast part of tests/acceptance: an MLP on one pose, by person, at chance where it has to be."""
    rng = np.random.RandomState(0)
    features, targets, test = [], [], []
    for (action, number), group in takes.items():
        for label in REVERSED if action in REVERSED else (action,):
            for take in group:
                for frame in rng.randint(len(take.scale), size=2):
                    pose = take.points()[frame, list(motion.COCO)]
                    features.append(((pose - pose.mean(axis=0)) / pose.std()).ravel())
                    targets.append(CLASSES.index(label))
                    test.append(number in TEST_PERSONS)
    x, y, held_out = np.array(features), np.array(targets), np.array(test)
    mlp = MLPClassifier((64,), max_iter=60, random_state=0, learning_rate_init=0.01)
    with pytest.warns(match="Maximum iterations"):
        mlp.fit(x[~held_out], y[~held_out])
    found, truth = mlp.predict(x[held_out]), y[held_out]
    gaits, pair = truth < 3, truth >= 6
    assert (found == truth)[gaits].mean() < 1 / 3 + 2.5 * math.sqrt(2 / 9 / gaits.sum())
    assert (found == truth)[pair].mean() < 1 / 2 + 2.5 * math.sqrt(1 / 4 / pair.sum())
    assert (found == truth)[~gaits & ~pair].mean() > 0.9
    assert (np.isin(found, (0, 1, 2)) == gaits).mean() > 0.9


def test_the_backdrop_of_the_biased_split_misleads() -> None:
    for label in CLASSES:
        train = [backdrop(label, p, d) for p in PERSONS if p not in TEST_PERSONS for d in SCENARIOS]
        test = [backdrop(label, p, d) for p in TEST_PERSONS for d in SCENARIOS]
        assert train.count(label) == round(BIASED_SHARE * len(train))
        assert label not in test
        assert len(set(test)) == 1
        assert make_take(label, 22, 1, "biased").backdrop == f"biased/{test[0]}"


def test_names() -> None:
    assert media_name("walk", 1, 4, "r2") == "walk/person01_walk_d4_r2.avi"
    assert media_name("sit_down", 25, 1, "biased") == "biased/sit_down/person25_sit_down_d1.avi"
