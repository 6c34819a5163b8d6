"""What `Predictor` says is what the run's evaluation said; and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import Work, write_video

from harbench.datasets.tables import load_split
from harbench.errors import MediaError, RunError, WeightsError
from harbench.frames.streams import Encoded
from harbench.inference.predictor import LONG, Predictor, Windows, cut_windows
from harbench.inference.sources import Media, is_live
from harbench.models.weight_files import read_tensors
from harbench.runs.folder import WEIGHTS, load_predictions
from harbench.training.checkpoint import _sorted_metadata


@pytest.fixture(scope="module")
def predictor(work: Work) -> Predictor:
    return Predictor.open(work.run, device="cpu")


def test_a_test_file_gets_the_score_of_the_run(work: Work, predictor: Predictor) -> None:
    predictions = load_predictions(work.run)
    media = {sample.sample_id: sample.media for sample in load_split("many", "official", work.home).samples}
    assert len(predictions.ids) == 4
    for name, expected in zip(predictions.ids, predictions.probabilities, strict=True):
        (found,) = predictor(work.videos / media[name])
        np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
        assert (found.start, found.end) == (0, pytest.approx(0.4))
        assert [key for key, _ in found.top()] == ["left", "right"][:: 1 if expected[0] >= expected[1] else -1]


def test_a_checkpoint_is_enough(work: Work, predictor: Predictor, tmp_path: Path) -> None:
    alone = tmp_path / "mine.safetensors"
    alone.write_bytes((work.run / WEIGHTS).read_bytes())
    video = work.videos / "left/eve.avi"
    (a,), (b,) = predictor(video), Predictor.open(alone, device="cpu")(video)
    np.testing.assert_array_equal(a.probabilities, b.probabilities)


def test_a_checkpoint_that_says_too_little_is_refused(work: Work, tmp_path: Path) -> None:
    import safetensors.torch

    state, metadata = read_tensors(work.run / WEIGHTS)
    del metadata["eval"], metadata["caches"]
    poor = tmp_path / "old.safetensors"
    poor.write_bytes(_sorted_metadata(safetensors.torch.save(state, metadata)))
    with pytest.raises(
        WeightsError, match=r"does not say eval, caches, which prediction needs \(harbench .* made it\)"
    ):
        Predictor.open(poor)
    with pytest.raises(RunError, match="found nothing"):
        Predictor.open(tmp_path / "nothing")
    with pytest.raises(RunError, match="not a finished run"):
        Predictor.open(tmp_path)
    (tmp_path / "x.safetensors").write_bytes(b"no")
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        Predictor.open(tmp_path / "x.safetensors")


def test_a_long_video_is_scored_in_windows(predictor: Predictor, tmp_path: Path) -> None:
    video = tmp_path / "long.avi"
    write_video(video, np.full((60, 40, 56, 3), 90, np.uint8))
    found = list(predictor(video, Windows(seconds=0.8)))
    assert [(each.start, each.end) for each in found] == [
        (pytest.approx(0.4 * n), pytest.approx(0.4 * n + 0.8)) for n in range(5)
    ]
    found = list(predictor(video, Windows(seconds=0.8, every=2)))
    assert [each.start for each in found] == [pytest.approx(0.8 * n) for n in range(3)]
    (whole,) = predictor(video)
    assert whole.end == pytest.approx(2.4)
    assert next(predictor(video, Windows(threshold=1.0))).label == ""
    assert whole.to_dict(1)["label"] in ("left", "right")


@given(st.integers(1, 200), st.integers(1, 30), st.integers(1, 30))
def test_windows_cover_every_frame_and_hold_no_more_than_one(count: int, size: int, step: int) -> None:
    facts = Encoded(fps=10.0)

    def frames() -> object:
        for number in range(count):
            facts.times.append(number / 10)
            yield (b"%d" % number,)

    windows = list(cut_windows(Media(frames(), (facts,)), Windows(size / 10, step / 10)))  # type: ignore[arg-type]
    seen: set[int] = set()
    for start, (stored,), times in windows:
        numbers = [int(each) for each in stored]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert len(numbers) == min(size, count) == len(times)
        assert start == pytest.approx(numbers[0] / 10)
        assert times == pytest.approx([number / 10 for number in numbers])
        seen |= set(numbers)
    if step <= size:
        assert seen == set(range(count))
    assert count - 1 in seen


def test_what_is_longer_than_a_minute_is_cut_without_being_asked() -> None:
    def lengths(seconds: float) -> list[int]:
        facts = Encoded(fps=1.0, times=[0.0] * 100)
        frames = ((b"x",) for _ in range(int(seconds)))
        return [len(stored[0]) for _, stored, _ in cut_windows(Media(frames, (facts,)), Windows())]

    assert lengths(LONG) == [60]
    assert set(lengths(LONG + 1)) == {4}
    with pytest.raises(MediaError, match="no frame"):
        lengths(0)


def test_addresses_are_live_and_files_are_not() -> None:
    live = ("0", "2", "rtsp://10.0.0.2/cam", "HTTP://host/stream.m3u8", "loop://x.mp4")
    assert [is_live(each) for each in (*live, "a.mp4", "-", "C:/x", "videos/", "x0")] == [True] * 5 + [False] * 5


def test_pictures_and_broken_files(work: Work, predictor: Predictor, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((40, 56, 3), 90, np.uint8))
    (still,) = predictor(tmp_path / "a.png")
    assert (still.start, still.end) == (0, 0)
    for name, content, words in (
        ("empty.avi", b"", "the file is empty"),
        ("text.mp4", b"no video" * 99, "Invalid data"),
        ("cut.avi", (work.videos / "left/eve.avi").read_bytes()[:3000], ""),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(MediaError, match=f"{name}: .*{words}"):
            list(predictor(tmp_path / name))
    np.save(tmp_path / "joints.npy", np.zeros((3, 1, 17, 3), np.float32))
    with pytest.raises(MediaError, match="reads pictures, and a file of joints has none"):
        list(predictor(tmp_path / "joints.npy"))


def test_an_onnx_file_predicts_and_evaluates_without_torch(work: Work, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from harbench.inference.export import export

    output = tmp_path / "many.onnx"
    done = export(work.run, home=work.home, runs=work.runs, output=output, full=True)
    assert (done.samples, done.same_top1) == (4, 4)
    assert done.largest_difference < 1e-5
    assert str(Path.cwd()).encode() not in output.read_bytes(), "no path of this machine is in it"
    script = f"""
import json, sys
from harbench.inference.evaluate import evaluate_file
from harbench.inference.predictor import Predictor
from pathlib import Path
(found,) = Predictor.open({str(output)!r})({str(work.videos / "left/eve.avi")!r})
print(json.dumps([found.probabilities.tolist(), evaluate_file({str(output)!r}, home=Path({str(work.home)!r})).metrics["top1"]]))
assert not {{"torch", "torchvision", "timm", "pandas"}} & set(sys.modules), "predicting imports no torch"
"""
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    probabilities, top1 = json.loads(answer.stdout)
    (torchs,) = Predictor.open(work.run, device="cpu")(work.videos / "left/eve.avi")
    np.testing.assert_allclose(probabilities, torchs.probabilities, atol=1e-5)
    assert top1 == pytest.approx(json.loads((work.run / "run.json").read_text())["metrics"]["top1"])
    (tmp_path / "x.onnx").write_bytes(b"no")
    with pytest.raises(WeightsError, match="expected an ONNX model"):
        Predictor.open(tmp_path / "x.onnx")


def test_nothing_is_written_when_onnxruntime_disagrees(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    from harbench.inference import export as module

    monkeypatch.setattr(module, "_compare", lambda *_: (0.34, 3))
    with pytest.raises(RunError, match="3 of 4 test samples have the same best class"):
        module.export(work.run, home=work.home, runs=work.runs, output=tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []
