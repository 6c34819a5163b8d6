"""Which numbers may be ranked together, and in which words two of them differ.

The key (`records.Comparability`) decides; the protocol (`records.ProtocolFacts`) is shown and a difference footnoted.
Vocabulary of the protocol, shared by runs and by `splits/*/published.csv`:

- modality: `RGB`, `flow`, `RGB+flow`, `3D pose (Kinect)`, `2D pose (HRNet)`, ...
- pretraining: `none (scratch)`, `Kinetics-400`, `ImageNet`, `ImageNet + Kinetics-400`, ...
- frames: of one clip, `16`; time base: `stride 2`, `15 fps`, `segments`, `whole video`, `single frames`
- size: side of the square input, `112`, else `<height>x<width>`
- views: `<clips>x<crops>`, `10x1`; averaging: `prob`, `logit`; selection: `last`, `val`, `test`
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, fields
from typing import Literal

from harbench.records import UNKNOWN, Comparability, ProtocolFacts

LOPO = "lopo-"
"""How the splits of leave-one-person-out begin: `lopo-<person>`."""

METRICS = {
    "top1": "top-1 accuracy",
    "top5": "top-5 accuracy",
    "mean_class": "mean class accuracy",
    "mAP": "mAP",
    "mAP_voc": "mAP (VOC, all points)",
    "mAP_11": "mAP (11 points)",
    "harmonic": "harmonic mean of base and novel",
    "mean of top1 and top5": "mean of top-1 and top-5",
}
"""Metrics that a leaderboard knows, with their names for people."""

_PARTS = {
    "label_set": "label set",
    "split_set": "split",
    "given": "what is given at test time",
    "complete": "samples",
    "kind": "kind of training",
}
_PROTOCOL_WORDS = {"time_base": "time base"}


def fingerprint(key: Comparability, protocol: ProtocolFacts) -> str:
    """Twelve hexadecimal digits of SHA-256 over key and protocol: equal exactly when every part of both is equal."""
    text = json.dumps([asdict(key), asdict(protocol)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def level_of(unit: str, views: int, *, spans_sample: bool) -> Literal["video", "clip"]:
    """Clip or video level of an evaluation with `views` views a sample.

    It is clip level when one clip that covers only a part of a video decides; a single clip spread over the whole video
    (segments, whole), an image and a cut-out sequence are judged whole, so they count as video level.
    """
    return "clip" if unit == "video" and views == 1 and not spans_sample else "video"


def rankable(key: Comparability) -> bool:
    """Whether a key can be compared with anything at all."""
    return not unknown_names(key) and key.complete == "yes"


def unknown_names(key: Comparability) -> tuple[str, ...]:
    """The fields of a key that nobody knows."""
    return tuple(part.name for part in fields(key) if getattr(key, part.name) == UNKNOWN)


def why_not_ranked(key: Comparability, protocol: ProtocolFacts, partial: str = "") -> str:
    """Why a number gets no place, in words; empty when it may have one."""
    reasons = [f"{_PARTS.get(name, name)} unknown" for name in unknown_names(key)]
    if partial or key.complete != "yes":
        reasons.append(partial or key.complete)
    if protocol.selection == "test":
        reasons.append("selected on test")
    return "; ".join(reasons)


def key_differences(a: Comparability, b: Comparability) -> tuple[str, ...]:
    """What keeps `a` from being ranked with `b`, in words: `mAP with boxes given against top-1 accuracy`."""
    words: list[str] = []
    if (a.metric, a.given) != (b.metric, b.given):
        words.append(f"{_measured(a, b)} against {_measured(b, a)}")
    for part in ("dataset", "label_set", "split_set", "unit", "level", "kind", "complete"):
        mine, other = getattr(a, part), getattr(b, part)
        if UNKNOWN in (mine, other):
            words.append(f"{_PARTS.get(part, part)} unknown")
        elif mine != other and part == "complete":
            words.append(mine if mine != "yes" else f"all test samples against {other}")
        elif mine != other:
            words.append(f"{part_words(part, mine)} against {part_words(part, other)}")
    return tuple(words)


def protocol_differences(a: ProtocolFacts, b: ProtocolFacts) -> tuple[str, ...]:
    """How two numbers were made differently, in words: `10 clips against 1`, `selected on test`."""
    words: list[str] = []
    for part in fields(a):
        mine, other = getattr(a, part.name), getattr(b, part.name)
        name = _PROTOCOL_WORDS.get(part.name, part.name)
        if mine == other:
            continue
        if part.name == "selection" and "test" in (mine, other):
            words.append("selected on test" if mine == "test" else "the other selected on test")
        elif part.name == "views":
            words.append(_views_against(mine, other))
        else:
            words.append(f"{name} {mine} against {other}")
    return tuple(words)


def part_words(part: str, value: str) -> str:
    """One part of a key for people: `split1` -> `split 1`, `top1` -> `top-1 accuracy`, `boxes` -> `boxes given`."""
    if part == "metric":
        return METRICS.get(value, value)
    if part == "given":
        return "nothing given" if value == "none" else f"{value} given"
    if part == "level":
        return f"{value} level"
    if part == "unit":
        return f"per {value}"
    if part == "split_set":
        if value.startswith("split") and value[5:].isdigit():
            return f"split {value[5:]}"
        return {"mean-of-3": "mean of 3 splits", "lopo": "leave one person out"}.get(value, value)
    return value


def _measured(key: Comparability, other: Comparability) -> str:
    metric = part_words("metric", key.metric)
    if key.given == other.given:
        return metric
    if key.given == UNKNOWN:
        return f"{metric} with unknown help at test time"
    return metric if key.given == "none" else f"{metric} with {key.given} given"


def _views_against(mine: str, other: str) -> str:
    (clips, _, crops), (other_clips, _, other_crops) = mine.partition("x"), other.partition("x")
    if crops and crops == other_crops:
        return f"{clips} clip{'s' if clips != '1' else ''} against {other_clips}"
    return f"views {mine} against {other}"


def pooled_split(split: str) -> str:
    """`lopo` of a fold of leave-one-person-out (`lopo-video` where it is of whole videos); any other split is its own."""
    if not split.startswith(LOPO):
        return split
    return "lopo-video" if split.endswith("-video") else "lopo"
