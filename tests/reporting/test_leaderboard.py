from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from statistics import stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harbench.records import (
    UNKNOWN,
    Comparability,
    JointInterval,
    Leaderboard,
    ProtocolFacts,
    PublishedResult,
    Row,
    RunRecord,
    Table,
)
from harbench.reporting.leaderboard import build_leaderboard

Run = Callable[..., RunRecord]
Published = Callable[..., PublishedResult]

WEIZMANN = Comparability("weizmann", "10 classes", "", "video", "top1", "video", "none", "yes")
PERSONS = ("daria", "denis", "eli", "ido", "ira", "lena", "lyova", "moshe", "shahar")


def _table(board: Leaderboard, title: str) -> Table:
    (found,) = [table for table in board.tables if table.title == title]
    return found


def _names(table: Table) -> list[tuple[int | None, str]]:
    return [(row.place, row.name) for row in table.rows]


def test_runs_and_published_numbers_share_a_table_only_under_one_key(make_run: Run, make_published: Published) -> None:
    board = build_leaderboard(
        [make_run("mine", top1=88.0)],
        [
            make_published("Better", 91.4),
            make_published("Worse", 80.0),
            make_published("Three splits", 99.0, key={"split_set": "mean-of-3"}),
            make_published("One clip", 98.0, key={"level": "clip"}),
        ],
    )
    table = _table(board, "UCF-101, split 1: top-1 accuracy, video level")
    assert _names(table) == [(1, "Better, ResNet-18"), (2, "mine"), (3, "Worse, ResNet-18")]
    assert board.tables[0] is table, "tables with own runs come first"
    assert {t.title: len(t.rows) for t in board.tables[1:]} == {
        "UCF-101, mean of 3 splits: top-1 accuracy, video level": 1,
        "UCF-101, split 1: top-1 accuracy, clip level": 1,
    }
    assert [row.kind for row in table.rows] == ["published", "run", "published"]
    assert table.rows[0].source == "A paper (arXiv:1711.11248)"


def test_equal_values_share_a_place(make_published: Published) -> None:
    rows = [make_published(name, value) for name, value in (("a", 90.001), ("b", 90.004), ("c", 89.0), ("d", 95.0))]
    (table,) = build_leaderboard([], rows).tables
    assert [(row.place, row.name[0]) for row in table.rows] == [(1, "d"), (2, "a"), (2, "b"), (4, "c")]


def test_what_has_no_place_stands_below_with_the_reason(make_run: Run, make_published: Published) -> None:
    chosen = replace(make_run().protocol, selection="test")
    board = build_leaderboard(
        [
            make_run("honest", top1=70.0),
            make_run("peeked", top1=95.0, protocol=chosen),
            make_run("small", top1=99.0, partial="16 of 3783 test samples"),
        ],
        [make_published("Peeked too", 97.0, protocol={"selection": "test"})],
    )
    (table,) = board.tables
    assert [(row.place, row.name, row.why_not) for row in table.rows] == [
        (1, "honest", ""),
        (None, "small", "partial: 16 of 3783 test samples"),
        (None, "Peeked too, ResNet-18", "selected on test"),
        (None, "peeked", "selected on test"),
    ]


def test_unknown_parts_get_a_table_without_places(make_published: Published) -> None:
    board = build_leaderboard(
        [],
        [
            make_published("Unclear", 90.0, key={"split_set": UNKNOWN}),
            make_published("Unclear unit", 80.0, key={"unit": UNKNOWN}),
        ],
    )
    (table,) = board.tables
    assert table.title == "UCF-101: top-1 accuracy, cannot be compared"
    assert [(row.place, row.why_not) for row in table.rows] == [
        (None, "split unknown; unit: per video"),
        (None, "unit unknown; split set: split 1"),
    ]
    assert (table.key.split_set, table.key.unit, table.key.metric) == (UNKNOWN, UNKNOWN, "top1")


def test_seeds_are_one_row_with_mean_and_spread(make_run: Run) -> None:
    values = [88.0, 89.0, 91.0]
    runs = [make_run(seed=seed, top1=value) for seed, value in enumerate(values)]
    (table,) = build_leaderboard(runs, []).tables
    (row,) = table.rows
    assert row.value == pytest.approx(sum(values) / 3)
    assert row.spread == pytest.approx(stdev(values))
    assert row.interval == pytest.approx((row.value - 1, row.value + 1))
    assert (row.seeds, row.source) == (3, "ucf101/mc3_18/split1/* (3 runs)")
    assert table.footnotes == ("interval: mean over the seeds; bootstrap over 707 groups",)
    (alone,) = build_leaderboard(runs[:1], []).tables
    assert (alone.rows[0].spread, alone.rows[0].seeds, alone.rows[0].source) == (None, 1, "ucf101/mc3_18/split1/seed0")


def test_recipes_tags_and_protocols_are_not_mixed(make_run: Run) -> None:
    other = replace(make_run().protocol, views="1x1")
    runs = [make_run(), make_run("mc3_18+lr2"), make_run(seed=1, protocol=other), make_run(seed=2, partial="limit 5")]
    (table,) = build_leaderboard(runs, []).tables
    assert [row.seeds for row in table.rows] == [1, 1, 1, 1]


def test_seeds_of_an_edited_recipe_are_not_averaged(make_run: Run) -> None:
    runs = [make_run(seed=seed, top1=top1) for seed, top1 in enumerate((85.0, 60.0, 62.0))]
    edited = [runs[0], *(replace(run, recipe_sha256="edited") for run in runs[1:])]
    (table,) = build_leaderboard(edited, []).tables
    assert [(row.value, row.seeds) for row in table.rows] == [(85.0, 1), (61.0, 2)]
    assert any("was edited between runs" in text for text in table.footnotes)


def test_mean_of_three_splits_needs_all_of_them(make_run: Run) -> None:
    runs = [make_run(split=f"split{s}", seed=seed, top1=80.0 + 2 * s + seed) for s in (1, 2, 3) for seed in (0, 1)]
    board = build_leaderboard([*runs, make_run(split="split1", seed=7, top1=10.0)], [])
    (row,) = _table(board, "UCF-101, mean of 3 splits: top-1 accuracy, video level").rows
    assert (row.place, row.value, row.seeds) == (1, 84.5, 2)
    assert row.spread == pytest.approx(stdev([84, 85]))
    assert row.source == "ucf101/mc3_18/*/* (6 runs)"
    titles = [table.title for table in build_leaderboard(runs[:4], []).tables]
    assert not [title for title in titles if "mean of 3" in title]
    table = _table(board, "UCF-101, mean of 3 splits: top-1 accuracy, video level")
    assert table.footnotes[row.footnotes[0] - 1] == "without seed 7: not all splits are there"


def _folds(make_run: Run, hits: dict[str, int], seed: int = 0, recipe: str = "motion3d") -> list[RunRecord]:
    return [
        make_run(recipe, f"lopo-{person}", seed, 100 * count / 10, key=WEIZMANN, test=10)
        for person, count in hits.items()
    ]


def test_folds_are_pooled_over_all_samples(make_run: Run) -> None:
    hits = dict(zip(PERSONS, (10, 9, 10, 9, 8, 10, 7, 10, 9), strict=True))
    joint = {"lopo": (JointInterval("top1", 100 * sum(hits.values()) / 90, 80.0, 95.0, "t over 9 groups"),)}
    (table,) = build_leaderboard([replace(run, joint=joint) for run in _folds(make_run, hits)], []).tables
    (row,) = table.rows
    assert table.key.split_set == "lopo" and row.interval == (80.0, 95.0)
    assert (row.place, row.why_not, row.seeds) == (1, "", 1)
    assert row.value == pytest.approx(100 * sum(hits.values()) / 90)
    (bare,) = build_leaderboard(_folds(make_run, hits), []).tables[0].rows
    assert (bare.value, bare.interval) == (pytest.approx(row.value), None)


def test_missing_folds_are_counted_and_get_no_place(make_run: Run) -> None:
    some = dict.fromkeys(PERSONS[:5], 10)
    (table,) = build_leaderboard(_folds(make_run, some), []).tables
    (row,) = table.rows
    assert (row.place, row.why_not, row.value, row.interval) == (None, "5 of 9 folds", 100.0, None)


def test_unequal_folds_are_weighted_and_unfinished_seeds_are_named(make_run: Run) -> None:
    whole = _folds(make_run, dict.fromkeys(PERSONS, 9))
    whole[0] = replace(whole[0], samples=whole[0].samples | {"test": 20}, metrics={"top1": 45.0})
    runs = [*whole, *_folds(make_run, {"eli": 0}, seed=1)]
    (table,) = build_leaderboard(runs, []).tables
    (row,) = table.rows
    assert (row.place, row.value, row.seeds) == (1, pytest.approx(100 * (9 + 8 * 9) / 100), 1)
    assert "without seed 1: not all folds are there" in table.footnotes


def test_a_run_is_shown_under_the_metrics_of_published_numbers(make_run: Run, make_published: Published) -> None:
    run = make_run(top1=88.0, top5=97.0, mAP=80.0)
    board = build_leaderboard([run], [make_published("Top five", 98.0, key={"metric": "top5"})])
    assert [table.key.metric for table in board.tables] == ["top5", "top1"]
    assert _names(board.tables[0]) == [(1, "Top five, ResNet-18"), (2, "mc3_18")]
    undefined = build_leaderboard([make_run(top5=None)], [make_published("Top five", 98.0, key={"metric": "top5"})])
    assert [len(table.rows) for table in undefined.tables] == [1, 1]


def test_protocol_differences_are_footnoted_against_the_best_own_run(make_run: Run, make_published: Published) -> None:
    theirs = make_published(
        "Theirs",
        90.0,
        notes="34 layers",
        protocol={"modality": "RGB", "pretraining": "Sports-1M", "frames": "16", "views": "10x1", "selection": "last"},
    )
    (table,) = build_leaderboard([make_run("mine", top1=80.0)], [theirs]).tables
    marked = [table.footnotes[index - 1] for index in table.rows[0].footnotes]
    assert marked == ["pretraining Sports-1M against Kinetics-400 (mine)", "34 layers"]
    assert [table.footnotes[index - 1] for index in table.rows[1].footnotes] == ["interval: bootstrap over 707 groups"]
    silent = make_published("Silent", 70.0, protocol={"views": UNKNOWN})
    (table,) = build_leaderboard([make_run("mine", top1=80.0)], [silent]).tables
    assert table.footnotes[0] == "interval: bootstrap over 707 groups"
    assert "modality, pretraining, frames, views, selection not stated" in table.footnotes
    fewer = make_published("Fewer", 70.0, protocol={"views": "1x1", "selection": "test"})
    (table,) = build_leaderboard([make_run("mine", top1=80.0)], [fewer]).tables
    assert {"1 clip against 10 (mine)", "selected on test"} <= set(table.footnotes)
    most = [make_published(name, 70.0, protocol={"frames": "16"}) for name in ("One", "Other")]
    (table,) = build_leaderboard([], [*most, make_published("Third", 60.0, protocol={"frames": "64"})]).tables
    assert table.footnotes == ("frames 64 against 16 (most rows)",)


def test_a_run_that_was_not_exact_says_so(make_run: Run) -> None:
    (table,) = build_leaderboard([replace(make_run(), exact=False)], []).tables
    assert any("not bit-exact" in note for note in table.footnotes)


def test_a_data_set_that_has_only_published_numbers(make_published: Published) -> None:
    (table,) = build_leaderboard([], [make_published("a", 70.0, key={"dataset": "kinetics400"})]).tables
    assert table.title.startswith("Kinetics-400")


# --------------------------------------------------------------------------------------------------------- invariants
_PART = st.sampled_from(["x", UNKNOWN])
_KEYS = st.builds(
    Comparability,
    dataset=st.sampled_from(["ucf101", "kinetics400"]),
    label_set=_PART,
    split_set=st.sampled_from(["split1", "mean-of-3", UNKNOWN]),
    unit=st.sampled_from(["video", UNKNOWN]),
    metric=st.sampled_from(["top1", "mAP"]),
    level=st.sampled_from(["video", "clip", UNKNOWN]),
    given=st.sampled_from(["none", "boxes"]),
    complete=st.just("yes"),
)
_PROTOCOLS = st.builds(
    ProtocolFacts,
    views=st.sampled_from(["1x1", "10x1", UNKNOWN]),
    selection=st.sampled_from(["last", "test", UNKNOWN]),
)
_RESULTS = st.builds(
    PublishedResult,
    method=st.text(max_size=3),
    family=st.just("3d-cnn"),
    backbone=st.just(""),
    params_m=st.none(),
    gflops=st.none(),
    key=_KEYS,
    protocol=_PROTOCOLS,
    value=st.floats(0, 100),
    year=st.none(),
    source_title=st.just(""),
    source_id=st.integers(0, 10**9).map(str),
    where_seen=st.just(""),
    notes=st.sampled_from(["", "a note"]),
)


@given(st.lists(_RESULTS, max_size=25, unique_by=lambda result: result.source_id))
def test_no_number_is_ranked_with_another_kind(results: list[PublishedResult]) -> None:
    board = build_leaderboard([], results)
    by_source = {result.source_id: result for result in results}
    rows: list[Row] = [row for table in board.tables for row in table.rows]
    assert sorted(row.source for row in rows) == sorted(by_source), "every number is shown exactly once"
    for table in board.tables:
        placed = [row for row in table.rows if row.place is not None]
        assert all(by_source[row.source].key == table.key for row in placed)
        assert all(row.protocol.selection != "test" for row in placed)
        assert not placed or UNKNOWN not in vars_of(table.key)
        assert all(bool(row.why_not) == (row.place is None) for row in table.rows)
        values = [round(row.value, 2) for row in placed]
        assert values == sorted(values, reverse=True)
        assert [row.place for row in placed] == [1 + sum(other > value for other in values) for value in values]
        for row in table.rows:
            assert all(1 <= index <= len(table.footnotes) for index in row.footnotes)


def vars_of(key: Comparability) -> tuple[str, ...]:
    return (key.dataset, key.label_set, key.split_set, key.unit, key.metric, key.level, key.given, key.complete)
