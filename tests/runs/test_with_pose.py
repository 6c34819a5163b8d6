"""Pictures with joints from `prepare --stream pose` to the record: what is read, what is said, what counts as wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from toys import many_people

from harbench import api
from harbench.errors import MediaError, RecipeError, RunError
from harbench.frames import detectors as landmarks
from harbench.paths import cache_folder
from harbench.runs.folder import load_predictions, load_run

RECIPE = """
family: pose-image
data: {dataset: many, cache: {short_side: 32}}
input:
  clip: {segments: {n: 2}}
  resize: 32
  size: 32
  normalize: half
  with_pose: true
model: {name: pose_image, args: {backbone: small_cnn, width: 8}}
train: {epochs: 1, batch_size: 4, workers: 0}
"""
NOBODY = "left/fay"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six people, in whose videos poses were found, but in one."""
    work = many_people(tmp_path_factory.mktemp("posed"))
    (work / "posed.yaml").write_text(RECIPE)
    for video in sorted((work / "videos").rglob("*.avi")):
        name = video.relative_to(work / "videos").with_suffix("").as_posix()
        joints = np.random.default_rng(len(name)).normal(20, 5, (10, 1, 33, 4)).astype(np.float32)
        joints[..., 3] = 0.0 if name == NOBODY else 0.9
        pose = work / "home/many/poses" / f"{name}.landmarks.npy"
        pose.parent.mkdir(parents=True, exist_ok=True)
        np.save(pose, joints * (name != NOBODY))
    return work


@pytest.fixture
def no_mediapipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """All poses are there: nothing has to be looked for."""
    monkeypatch.setattr(landmarks, "check_landmarker", lambda bundle: None)


def run(work: Path, *overrides: str, **options: object) -> api.RunReport:
    (report,) = api.run(
        [str(work / "posed.yaml")], home=work / "home", runs=work / "runs", overrides=overrides, **options
    )
    return report


@pytest.mark.usefixtures("no_mediapipe")
def test_from_pose_files_to_a_record(work: Path) -> None:
    with pytest.raises(RunError, match="Make it:  harbench prepare many --split official --stream pose"):
        run(work)
    report = api.prepare("many", home=work / "home", source=work / "videos", stream="pose", workers=1)
    assert (report.cached, report.failed, report.missing) == (12, {}, ())
    assert Path(report.cache) == cache_folder(work / "home", "many", "pose")
    assert run(work, dry_run=True).plan["input"] == "3x2x32x32 and 4x2x33x1"
    done = run(work)
    assert done.failed == 1
    folder = work / "runs/many/posed/official/seed0"
    assert dict(load_predictions(folder).failed) == {NOBODY: f"{NOBODY}.avi: no pose found"}
    record = load_run(folder)
    assert (record.samples["test"], record.samples["scored"]) == (4, 3)
    assert record.key.given == "none"  # what is found in the pixels is the method's own
    assert record.protocol.modality == "RGB+2D pose (MediaPipe)"
    assert record.protocol.cache == "rgb-jpeg90-32+pose"
    again = api.evaluate(folder, home=work / "home", runs=work / "runs")
    assert again.metrics == record.metrics
    told = api.features(folder, home=work / "home", runs=work / "runs")
    assert told.failed == (NOBODY,)
    with np.load(told.file) as saved:
        state = safetensors.numpy.load_file(folder / "model.safetensors")
        logits = saved["test_features"] @ state["head.weight"].T + state["head.bias"]
        stored = load_predictions(folder)
        order = [list(saved["test_ids"]).index(each) for each in stored.ids]
    np.testing.assert_allclose(logits[order], stored.logits, rtol=1e-4, atol=1e-5)  # so the joints were there


@pytest.mark.usefixtures("no_mediapipe")
def test_a_model_without_a_place_for_poses_is_told(work: Path) -> None:
    api.prepare("many", home=work / "home", source=work / "videos", stream="pose", workers=1)
    with pytest.raises(RecipeError, match="model small_cnn takes pictures alone; pose_image takes both"):
        run(work, "model={name: small_cnn}", tag="alone")
    with pytest.raises(RecipeError, match=r"4 channels x 2 frames x 17 joints"):
        run(work, "model.args.joints=17", tag="coco")


def test_without_mediapipe_nothing_is_begun(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landmarks, "find_spec", lambda name: None)
    with pytest.raises(MediaError, match="need MediaPipe"):
        api.prepare("many", home=work / "home", source=work / "videos", stream="pose", workers=1)
