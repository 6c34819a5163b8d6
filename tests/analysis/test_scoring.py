"""`score`: predictions of other frameworks on official test sets."""

from __future__ import annotations

import csv
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, top_k_accuracy_score

from harbench.analysis.score import Scoring, score_file
from harbench.cli.texts import scoring_text
from harbench.datasets.tables import load_split
from harbench.errors import DatasetError

TABLE = load_split("ucf101", "split1")
TEST = TABLE.subset("test")
KEYS = [label.key for label in TABLE.classes]
TARGETS = np.array([sample.target for sample in TEST])


@pytest.fixture(scope="module")
def scores() -> np.ndarray:
    """Softmax scores that are right for about half of the samples."""
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(len(TEST), len(KEYS)))
    raw[np.arange(len(TEST)), TARGETS] += 2.5
    exp = np.exp(raw)
    return np.asarray(exp / exp.sum(axis=1, keepdims=True), dtype=np.float32)


def score(file: Path, tmp_path: Path, **options: Any) -> Scoring:
    return score_file(file, dataset="ucf101", split="1", home=tmp_path, **options)


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([header, *rows])
    return path


def test_npz_agrees_with_scikit_learn_whatever_the_order(tmp_path: Path, scores: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    rows, columns = rng.permutation(len(TEST)), rng.permutation(len(KEYS))
    # As people have them: flat, without folder, the class spelt as THUMOS does, other case.
    ids = np.array([Path(TEST[row].media).name.replace("HandStand", "Handstand").upper() for row in rows])
    names = np.array([TABLE.classes[column].display for column in columns])
    np.savez(tmp_path / "p.npz", ids=ids, scores=scores[rows][:, columns], classes=names)
    found = score(tmp_path / "p.npz", tmp_path)
    assert found.metrics["top1"] == pytest.approx(100 * top_k_accuracy_score(TARGETS, scores, k=1))
    assert found.metrics["top5"] == pytest.approx(100 * top_k_accuracy_score(TARGETS, scores, k=5))
    expected = np.mean([average_precision_score(k == TARGETS, scores[:, k]) for k in range(len(KEYS))])
    assert found.metrics["mAP"] == pytest.approx(100 * expected)
    assert (found.scored, found.missing, found.unknown, found.classes_from) == (3783, (), (), "the file")
    low, high = found.intervals["top1"]
    assert low < (found.metrics["top1"] or 0) < high and "groups" in found.interval_methods["top1"]


def test_gaps_are_wrong_repeats_counted_and_contradictions_refused(tmp_path: Path) -> None:
    right = [(sample.media, KEYS[sample.target]) for sample in TEST]
    train = TABLE.subset("train")[0]
    rows = [*right[100:], right[200], (train.media, KEYS[0]), ("nothing.avi", KEYS[0])]
    found = score(write_csv(tmp_path / "p.csv", ("video", "label"), rows), tmp_path)
    assert found.metrics["top1"] == pytest.approx(100 * 3683 / 3783)
    assert found.metrics["mAP"] is None and found.metrics["top5"] is None
    assert (len(found.missing), found.duplicates, found.elsewhere, found.unknown) == (100, 1, 1, ("nothing.avi",))
    assert "3683 of 3783" in scoring_text(found)
    rows = [*right, (right[0][0], KEYS[5])]
    with pytest.raises(DatasetError, match="twice"):
        score(write_csv(tmp_path / "q.csv", ("video", "label"), rows), tmp_path)


def test_a_score_that_is_missing_or_infinite_is_no_score(tmp_path: Path, scores: np.ndarray) -> None:
    cells: list[list[object]] = [[s.sample_id, *map(float, row)] for s, row in zip(TEST[:50], scores[:50], strict=True)]
    cells[0][1], cells[1][1] = "", "inf"
    found = score(write_csv(tmp_path / "p.csv", ("sample_id", *KEYS), cells), tmp_path)
    assert found.missing == (TEST[0].sample_id, TEST[1].sample_id, *(sample.sample_id for sample in TEST[50:]))


def dumped(path: Path, scores: np.ndarray, targets: Sequence[int], old: bool = False) -> Path:
    """What mmaction2 writes: tensors, which pickle as calls of torch's own functions."""
    rows = torch.tensor(scores)
    entries: list[dict[str, Any]] = []
    for row, target in zip(rows, targets, strict=True):
        truth = torch.tensor([int(target)])
        if old:
            entries.append({"pred_scores": {"item": row}, "gt_labels": {"item": truth}})
        else:
            entries.append({"pred_score": row, "gt_label": truth, "img_shape": (224, 224)})
    path.write_bytes(pickle.dumps(entries))
    return path


@pytest.mark.parametrize("old", [False, True])
def test_a_dump_of_mmaction2_says_neither_samples_nor_classes(tmp_path: Path, scores: np.ndarray, old: bool) -> None:
    part = slice(0, 3783, 20)
    # mmaction2's own label map of UCF-101 is sorted otherwise than the official list.
    order = sorted(range(len(KEYS)), key=lambda k: KEYS[k].lower()[::-1])
    place = {k: position for position, k in enumerate(order)}
    dump = dumped(tmp_path / "d.pkl", scores[part][:, order], [place[t] for t in TARGETS[part]], old)
    listed = tmp_path / "test.txt"
    listed.write_text("".join(f"{s.media} {place[s.target]}\n" for s in TEST[part]), encoding="utf-8")
    label_map = tmp_path / "label_map.txt"
    label_map.write_text("\n".join(KEYS[k] for k in order), encoding="utf-8")
    with pytest.raises(DatasetError, match="--classes-order"):
        score(dump, tmp_path)
    with pytest.raises(DatasetError, match="--names"):
        score(dump, tmp_path, classes_order=str(label_map))
    with pytest.raises(DatasetError, match="gt_label"):
        score(dump, tmp_path, classes_order="official", names=listed)
    found = score(dump, tmp_path, classes_order=str(label_map), names=listed)
    hits = (scores[part].argmax(axis=1) == TARGETS[part]).sum()
    assert found.metrics["top1"] == pytest.approx(100 * hits / 3783)
    assert found.scored == len(TARGETS[part])


def test_numbered_class_lists_and_labels(tmp_path: Path) -> None:
    order = tmp_path / "classInd.txt"
    order.write_text("".join(f"{k + 1} {key}\n" for k, key in reversed(list(enumerate(KEYS)))), encoding="utf-8")
    path = write_csv(tmp_path / "p.csv", ("id", "pred"), [(s.sample_id, s.target) for s in TEST])
    with pytest.raises(DatasetError, match="--classes-order"):
        score(path, tmp_path)
    assert score(path, tmp_path, classes_order=str(order)).metrics["top1"] == 100


def test_mistakes_are_told(tmp_path: Path, scores: np.ndarray) -> None:
    ids = [sample.sample_id for sample in TEST]
    names = [*KEYS[:-1], "YoYoo"]
    np.savez(tmp_path / "p.npz", ids=ids, scores=scores, classes=names)
    with pytest.raises(DatasetError, match="did you mean 'YoYo'"):
        score(tmp_path / "p.npz", tmp_path)
    np.savez(tmp_path / "p.npz", ids=ids, scores=scores[:, :-1], classes=KEYS[:-1])
    with pytest.raises(DatasetError, match="without: YoYo"):
        score(tmp_path / "p.npz", tmp_path)
    np.savez(tmp_path / "p.npz", ids=["a", "b"], scores=scores[:2], classes=KEYS)
    with pytest.raises(DatasetError, match="none of its 2 names"):
        score(tmp_path / "p.npz", tmp_path)
    np.savez(tmp_path / "p.npz", ids=np.array([{}], dtype=object), scores=scores[:1])
    with pytest.raises(DatasetError, match="plain arrays"):
        score(tmp_path / "p.npz", tmp_path)
    with pytest.raises(DatasetError, match="found none"):
        score(tmp_path / "p.txt", tmp_path)


def test_logits_become_probabilities_before_average_precision(tmp_path: Path, scores: np.ndarray) -> None:
    ids = [sample.sample_id for sample in TEST]
    np.savez(tmp_path / "a.npz", ids=ids, scores=scores, classes=KEYS)
    np.savez(tmp_path / "b.npz", ids=ids, scores=np.log(scores) + 7, classes=KEYS)
    a, b = score(tmp_path / "a.npz", tmp_path), score(tmp_path / "b.npz", tmp_path)
    assert (a.scores, b.scores) == ("probabilities", "logits, softmax taken")
    assert a.metrics["mAP"] == pytest.approx(b.metrics["mAP"], abs=1e-3)


def test_ranges_of_one_video_are_told_apart(tmp_path: Path) -> None:
    table = load_split("kth")
    rows = [(sample.sample_id, table.classes[sample.target].key) for sample in table.subset("test")]
    path = write_csv(tmp_path / "p.csv", ("id", "label"), rows)
    assert score_file(path, dataset="kth", home=tmp_path).metrics["top1"] == 100
