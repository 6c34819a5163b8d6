from __future__ import annotations

from dataclasses import fields, replace

import pytest

from harbench.records import UNKNOWN, Comparability, ProtocolFacts
from harbench.runs.comparability import (
    fingerprint,
    key_differences,
    level_of,
    part_words,
    protocol_differences,
    rankable,
    why_not_ranked,
)

KEY = Comparability("stanford40", "40 classes", "official", "image", "top1", "video", "none", "yes")


@pytest.mark.parametrize("part", [part.name for part in fields(Comparability)])
def test_every_part_of_the_key_keeps_numbers_apart(part: str) -> None:
    other = replace(KEY, **{part: "something else"})
    assert key_differences(KEY, other) and key_differences(other, KEY)
    assert fingerprint(KEY, ProtocolFacts()) != fingerprint(other, ProtocolFacts())
    hidden = replace(KEY, **{part: UNKNOWN})
    assert rankable(KEY) and not rankable(hidden), "two unknowns are not equal"


def test_differences_are_said_in_words() -> None:
    boxes = replace(KEY, metric="mAP", given="boxes")
    assert key_differences(boxes, KEY) == ("mAP with boxes given against top-1 accuracy",)
    subset = replace(KEY, label_set="14 of 21 classes")
    assert key_differences(subset, replace(KEY, label_set="21 classes")) == ("14 of 21 classes against 21 classes",)
    one, three = replace(KEY, split_set="split1"), replace(KEY, split_set="mean-of-3")
    assert key_differences(one, three) == ("split 1 against mean of 3 splits",)
    assert key_differences(one, replace(one, split_set=UNKNOWN)) == ("split unknown",)
    assert key_differences(replace(KEY, complete="16 of 5532 test samples"), KEY) == ("16 of 5532 test samples",)
    assert key_differences(KEY, KEY) == ()


def test_protocol_differences_are_said_in_words() -> None:
    ten = ProtocolFacts(views="10x1", selection="test", pretraining="Kinetics-400")
    one = ProtocolFacts(views="1x1", selection="last", pretraining="none (scratch)")
    assert protocol_differences(ten, one) == (
        "pretraining Kinetics-400 against none (scratch)",
        "10 clips against 1",
        "selected on test",
    )
    assert protocol_differences(one, ten)[1:] == ("1 clip against 10", "the other selected on test")
    assert protocol_differences(replace(ten, views="10x3"), ten) == ("views 10x3 against 10x1",)


def test_why_a_number_has_no_place() -> None:
    last, test = ProtocolFacts(selection="last"), ProtocolFacts(selection="test")
    assert why_not_ranked(KEY, last) == ""
    assert why_not_ranked(KEY, test) == "selected on test"
    assert why_not_ranked(replace(KEY, unit=UNKNOWN), test, "downscaled media") == (
        "unit unknown; downscaled media; selected on test"
    )
    assert why_not_ranked(replace(KEY, complete="3000 of 5532"), last) == "3000 of 5532"


def test_level() -> None:
    assert level_of("video", 1, spans_sample=False) == "clip"
    assert level_of("video", 1, spans_sample=True) == "video"
    assert level_of("video", 10, spans_sample=False) == "video"
    assert level_of("image", 1, spans_sample=False) == "video"
    assert level_of("sequence", 1, spans_sample=False) == "video"


def test_words_and_fingerprint() -> None:
    assert part_words("split_set", "split2") == "split 2"
    assert part_words("split_set", "splitless") == "splitless"
    assert part_words("given", "none") == "nothing given"
    found = fingerprint(KEY, ProtocolFacts())
    assert len(found) == 12 and int(found, 16) >= 0
    assert found == fingerprint(replace(KEY), ProtocolFacts())
    assert found != fingerprint(KEY, ProtocolFacts(views="1x1"))
