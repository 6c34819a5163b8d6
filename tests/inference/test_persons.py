"""Several persons, each with an answer of his own; and a temperature fitted on val."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from toys import Work, many_people, write_video

from harbench import api
from harbench.errors import MediaError, RunError
from harbench.frames.detectors import Finder
from harbench.inference import predictor as module
from harbench.inference.predict import PredictOptions, predict_one
from harbench.inference.predictor import Predictor, Windows
from harbench.inference.trained import KEYS, Opened, Trained, read_facts
from harbench.models.weight_files import read_metadata
from harbench.recipe import CacheConfig, InputConfig
from harbench.runs.folder import WEIGHTS

POSES = InputConfig.model_validate({"clip": {"dense": {"num_frames": 4, "stride": 1}}, "center": False})


def poses(work: Work, persons: int) -> Predictor:
    """A predictor that calls who stands left `left`, of as many persons."""
    facts = read_facts("x", read_metadata(work.run / WEIGHTS))
    facts |= {"input": POSES, "caches": (CacheConfig(stream="pose"),), "joints": (3, 17)}

    def score(arrays: list[np.ndarray]) -> np.ndarray:
        right = arrays[0][:, 0].mean(axis=(1, 2, 3)) > 30
        return np.stack([~right, right], axis=1).astype(np.float32) * 5

    @contextmanager
    def opened(still: bool, fps: float) -> Iterator[Finder]:
        def find(image: np.ndarray) -> np.ndarray:
            joints = np.zeros((persons, 17, 3), np.float32)
            if image.max() > 0:
                joints[0], joints[1 % persons] = 10, 50 if persons > 1 else 10
            return joints

        yield find

    return Predictor(Opened((Trained(name="x", score=score, **facts),)), opened, persons)


def test_each_person_has_an_answer(work: Work, tmp_path: Path) -> None:
    write_video(tmp_path / "a.avi", np.full((20, 40, 56, 3), 90, np.uint8))
    found = list(poses(work, 3)(tmp_path / "a.avi", Windows(seconds=0.4)))
    assert [(each.person, each.label) for each in found[:2]] == [(0, "left"), (1, "right")]
    assert len(found) == 2 * 3, "the third place is empty"
    assert found[1].to_dict()["person"] == 1
    (alone,) = poses(work, 1)(tmp_path / "a.avi")
    assert (alone.person, alone.label) == (None, "left")
    result = predict_one(poses(work, 3), tmp_path / "a.avi", PredictOptions(save=tmp_path / "out"))
    assert result.segments == ()
    assert [Path(path).name for path in result.saved] == ["out.mp4"]


@pytest.mark.parametrize("persons", [1, 3])
def test_nobody_is_nothing(persons: int, work: Work, tmp_path: Path) -> None:
    frames = np.full((20, 40, 56, 3), 90, np.uint8)
    frames[:12] = 0
    write_video(tmp_path / "a.avi", frames)
    first, *_, last = poses(work, persons)(tmp_path / "a.avi", Windows(seconds=0.4))
    assert (first.label, first.person, first.probabilities.max()) == ("", None, 0)
    assert last.label


def test_joints_have_to_go_together(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = poses(work, 1).opened
    monkeypatch.setattr(module, "open_trained", lambda *_: opened)
    with pytest.raises(RunError, match=r"reads 17 joints of 3 channels, and .* finds 33 of 4"):
        Predictor.open("x", pose_model="pose.task")
    with pytest.raises(MediaError, match="there is no pose model"):
        Predictor.open("x", pose_model="pose.onnx")


def test_a_temperature_is_fitted_on_val_and_used(tmp_path: Path, work: Work) -> None:
    folder = many_people(tmp_path)
    text = (folder / "many.yaml").read_text().replace("{dataset: many,", "{dataset: many, validation: 0.3,")
    (folder / "many.yaml").write_text(text)
    shared = {"home": folder / "home", "runs": folder / "runs", "device": "cpu"}
    (done,) = api.run([str(folder / "many.yaml")], **shared)
    video = folder / "videos/left/eve.avi"
    (before,) = Predictor.open(done.folder)(video)
    fitted = api.calibrate(Path(done.folder), **shared)
    assert fitted.nll[1] <= fitted.nll[0]
    assert fitted.samples == 2
    (after,) = Predictor.open(done.folder)(video)
    assert after.label == before.label
    scores = np.log(before.probabilities) / fitted.temperature
    np.testing.assert_allclose(after.probabilities, np.exp(scores) / np.exp(scores).sum(), rtol=1e-6)
    (Path(done.folder) / "calibration.json").write_text("{")
    with pytest.raises(RunError, match="is damaged"):
        Predictor.open(done.folder)
    with pytest.raises(RunError, match="needs samples that were held out"):
        api.calibrate(work.run, home=work.home, runs=work.runs)


def test_a_checkpoint_says_all_that_prediction_needs(work: Work) -> None:
    metadata = read_metadata(work.run / WEIGHTS)
    assert set(KEYS) <= set(metadata)
    assert json.loads(metadata["caches"]) == ["rgb-jpeg90-32"]
