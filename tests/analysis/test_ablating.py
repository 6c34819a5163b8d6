"""`ablate` on runs: what is altered, what is left out and why, several side by side."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from toys import many_people

from harbench import api
from harbench.analysis.ablate import Ablation, Altered, _alterations, _same_class
from harbench.cli.texts import ablation_text
from harbench.errors import RunError
from harbench.frames.clips import ClipDataset
from harbench.prepare.boxes import save_boxes
from harbench.recipe import DataConfig, EvalConfig, InputConfig
from harbench.records import MediaInfo, Predictions, Sample

JOINTS = 'pose_suffix=".joints.npy", pose_shape=(2, 3), '


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run on people who are drawn as a square."""
    folder = many_people(tmp_path_factory.mktemp("probing"))
    api.run([str(folder / "many.yaml")], home=folder / "home", runs=folder / "runs")
    return folder


def probed(work: Path) -> Ablation:
    (found,) = api.ablate([Path("many/many/official/seed0")], home=work / "home", runs=work / "runs")
    return found


def test_without_joints_time_alone_is_altered_and_it_says_why(work: Path) -> None:
    found = probed(work)
    assert [each.change for each in found.altered] == ["reversed", "shuffled", "frozen"]
    assert found.left_out == (
        "person and background are not blanked: many has neither person boxes nor joints in pixels",
    )
    assert (found.constant, found.samples, found.frames) == (50.0, 4, 16)
    kept = json.loads((work / "runs/many/many/official/seed0/ablate.json").read_text())
    assert kept["top1"] == found.top1


def test_with_joints_person_and_background_are_blanked(work: Path) -> None:
    spec = work / "home/datasets/many.py"
    spec.write_text(spec.read_text().replace('group="person",', f'group="person", {JOINTS}'))
    assert "harbench prepare many --split official --stream pose" in probed(work).left_out[0]
    for video in (work / "videos").rglob("*.avi"):
        corners = np.array([[4, 10], [40, 26], [20, 18]], np.float32)
        np.save(video.with_suffix(".joints.npy"), np.tile(corners, (10, 1, 1)))
    api.prepare("many", home=work / "home", source=work / "videos", stream="pose", workers=1)
    found = probed(work)
    assert [each.change for each in found.altered][3:] == ["no person", "no background"] and not found.left_out
    no_person, no_background = found.altered[3:]
    assert no_person.top1 == 50.0, "nothing moves any more, so both classes look the same"
    assert no_background.same >= no_person.same


def test_a_sample_without_a_score_has_no_class_and_the_average_is_the_runs() -> None:
    nothing = [np.nan, np.nan]
    own = _scores([[0.9, 0.1], nothing, [0.6, 0.4], [0.8, 0.2]], [[1, 2], nothing, [1, 0], [1, 0]])
    other = _scores([[0.9, 0.1], nothing, nothing, [0.7, 0.3]], [[2, 1], nothing, nothing, [1, 0]])
    assert _same_class(own, other, "prob").tolist() == [True, False, True], "the second sample has no score at all"
    assert _same_class(own, other, "logit").tolist() == [False, False, True]


def _scores(probabilities: list[list[float]], logits: list[list[float]]) -> Predictions:
    ids = tuple("abcd")
    return Predictions(ids, np.zeros(4, np.int64), np.array(logits), np.array(probabilities))


def stills(home: Path, **config: object) -> Any:
    """An opened run on stills with person boxes, as far as its alterations need one."""
    rows = [Sample("a/s", 0, "", "test", "a.jpg"), Sample("a/t", 0, "", "test", "b.jpg")]
    input = InputConfig.model_validate({"clip": {"uniform": {"n": 1}}, "size": 8, "resize": 8})
    data = ClipDataset(rows, White(), input, seed=0, views=EvalConfig())
    recipe = SimpleNamespace(data=DataConfig(dataset="mine", **config), input=input)
    table = SimpleNamespace(unit="image", dataset="mine", split="official")
    spec = SimpleNamespace(boxes=True, pose_suffix="")
    return SimpleNamespace(recipe=recipe, inputs=SimpleNamespace(test=data, table=table, spec=spec, cache=White()))


class White:
    """A FrameCache of white stills."""

    def __contains__(self, media: object) -> bool:
        return True

    def info(self, media: str) -> MediaInfo:
        return MediaInfo(frames=1, fps=0, width=8, height=8)

    def read(self, media: str, indices: np.ndarray) -> np.ndarray:
        return np.full((len(indices), 8, 8, 3), 255, np.uint8)


def test_stills_are_blanked_by_the_publishers_boxes(tmp_path: Path) -> None:
    assert _alterations(stills(tmp_path), tmp_path)[1][1].endswith("no boxes were prepared")
    save_boxes(tmp_path, "mine", {"a.jpg": (0.0, 0.0, 0.5, 1.0)})
    found, left_out = _alterations(stills(tmp_path), tmp_path)
    assert left_out == ("stills have no order of frames",)
    gray = {name: float((data[(0, 0, 0, 0)].frames == 127).float().mean()) for name, data in found.items()}
    assert gray == {"no person": 0.5, "no background": 0.5}
    assert not (found["no person"][(0, 0, 1, 0)].frames == 127).any(), "no box: all of it is background"
    assert "box alone" in _alterations(stills(tmp_path, boxes=True), tmp_path)[1][1]


def test_nothing_to_alter_is_told(work: Path) -> None:
    with pytest.raises(RunError, match="no finished run"):
        api.ablate([Path("many/many/official/seed9")], home=work / "home", runs=work / "runs")


def made(changes: dict[str, tuple[float, float]], frames: int = 16) -> Ablation:
    """An ablation with (top1, same) under each change, of a model with 90.00."""
    altered = [
        Altered(name, top1, top1 - 90, (top1 - 92, top1 - 88), "t", same, {"walk": top1})
        for name, (top1, same) in changes.items()
    ]
    return Ablation("runs/a", 90.0, 12.5, 288, frames, {"walk": 90.0}, tuple(altered), ())


def test_what_it_says_for_people() -> None:
    orders = {"reversed": (89.5, 99.0), "shuffled": (50.0, 50.0), "frozen": (20.0, 20.0)}
    person = made(orders | {"no person": (12.0, 10.0), "no background": (80.0, 85.0)})
    told = ablation_text([person])
    assert "70.00 of 90.00 points rest on more than one frame of a clip" in told
    assert "reversed: no loss beyond chance" in told and "walk 90 to 20" in told
    assert "on the person more than on the background" in told
    scene = made({"no person": (88.0, 97.0), "no background": (93.0, 30.0)}, frames=1)
    told = ablation_text([person, scene])
    assert "on the background more than on the person" in told and "88.00 of its 90.00 points need no person" in told
    assert "The background misleads it: +3.00 points without" in told
    table = told.split("as it is")[-1].splitlines()
    assert table[1].split() == ["90.00", "89.50", "50.00", "20.00", "12.00", "80.00", "runs/a"]
    assert table[2].split() == ["90.00", "88.00", "93.00", "runs/a"]
