"""Training samples are compared by media, across data sets and frame ranges."""

from __future__ import annotations

from pathlib import Path

import pytest

from harbench.datasets.tables import load_spec, load_split
from harbench.records import DatasetSpec, Sample
from harbench.runs.seen import METADATA, Seen, media_id


def trained(dataset: str, split: str) -> Seen:
    spec = load_spec(dataset)
    return Seen(frozenset(media_id(spec, sample) for sample in load_split(dataset, split).subset("train")))


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        (("ntu120", "xset"), ("ntu60", "xsub"), 10389),
        (("ntu120", "xsub"), ("ntu60", "xsub"), 0),
        (("ntu60", "xview"), ("ntu60_mutual", "xview"), 0),
        (("weizmann93", "lopo-ido"), ("weizmann", "lopo-lena"), 10),
        (("weizmann", "lopo-ido"), ("weizmann93", "lopo-lena"), 13),
        (("ucf101", "split1"), ("hmdb51", "split1"), 0),
    ],
)
def test_test_samples_that_were_trained_on(source: tuple[str, str], target: tuple[str, str], expected: int) -> None:
    test = load_split(*target).subset("test")
    assert trained(*source).count(load_spec(target[0]), test) == expected


def test_frames_of_a_media_count_where_they_overlap() -> None:
    spec = DatasetSpec("mine", "Mine", "video", "sequence", ("official",), origin="theirs")
    seen = Seen(frozenset({"theirs/a/b#10-20", "theirs/whole"}))
    parts = [Sample("s", 0, "", "test", "a/b.avi", start, end) for start, end in ((0, 10), (19, 25), (20, None))]
    assert [seen.count(spec, [part]) for part in parts] == [0, 1, 0]
    assert seen.count(spec, [Sample("s", 0, "", "test", "a/b.avi"), Sample("s", 0, "", "test", "whole.mp4", 3, 4)]) == 2


def test_a_checkpoint_of_an_older_harbench_is_unknown_and_foreign_weights_say_nothing() -> None:
    assert Seen.of_metadata(Path("w"), {"harbench": "0", "train_ids": "x"}).unknown
    assert Seen.of_metadata(Path("w"), {}) == Seen()
    seen = Seen(frozenset({"a/b"}), "some")
    assert Seen.of_metadata(Path("w"), {METADATA: seen.packed}).ids == seen.ids
