"""Live sources: the newest picture only, answers beside it, sources that go away."""

from __future__ import annotations

import json
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from toys import Work, write_video
from typer.testing import CliRunner

from harbench.cli import app
from harbench.errors import MediaError
from harbench.inference import live
from harbench.inference.live import LiveStats, Slot, captured, watch_source
from harbench.inference.predictor import Windows


def test_a_slot_holds_the_newest_picture_and_counts_the_others() -> None:
    slot = Slot(LiveStats())
    for shade in range(5):
        slot.put(np.full((2, 2, 3), shade, np.uint8))
    taken = slot.take()
    assert taken is not None
    assert taken[0].max() == 4
    assert (slot.stats.received, slot.stats.dropped) == (5, 4)
    slot.end()
    assert slot.take() is None
    slot.end(MediaError("it went away"))
    with pytest.raises(MediaError, match="went away"):
        slot.take()


def test_a_file_stands_in_for_a_camera(work: Work, tmp_path: Path) -> None:
    write_video(tmp_path / "a.avi", np.full((30, 40, 56, 3), 90, np.uint8))
    views = list(
        watch_source(
            f"loop://{tmp_path}/a.avi", run=str(work.run), device="cpu", windows=Windows(seconds=0.4), seconds=2.5
        )
    )
    stats = views[-1].stats
    assert stats.received > 40, "the file is played again and again, at 25 pictures a second"
    answers = [view.prediction for view in views if view.new]
    assert len(answers) > 5
    assert all(answer is not None and answer.probabilities.sum() == pytest.approx(1) for answer in answers)
    assert views[0].prediction is None
    assert stats.latency(50) > 0


def test_a_source_that_goes_away_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Reader:
        def __init__(self, pictures: int) -> None:
            self.pictures = pictures

        def isOpened(self) -> bool:  # noqa: N802
            return True

        def get(self, what: int) -> float:
            return 50.0 if what == cv2.CAP_PROP_FPS else -1.0

        def release(self) -> None: ...

        def read(self) -> tuple[bool, np.ndarray]:
            self.pictures -= 1
            time.sleep(0.005)
            return self.pictures >= 0, np.zeros((4, 4, 3), np.uint8)

    readers = [Reader(3), Reader(2)]

    def opened(source: str) -> Reader:
        if not readers:
            raise MediaError("gone")
        return readers.pop(0)

    monkeypatch.setattr(live, "_opened", opened)
    monkeypatch.setattr(live, "_AGAIN", (0.01, 0.01))
    stats = LiveStats()
    with (
        captured("rtsp://camera", stats) as slot,
        pytest.raises(MediaError, match="rtsp://camera went away, and did not"),
    ):
        while True:
            slot.take()
    assert (stats.received, stats.reconnected, slot.fps) == (5, 1, 50.0)


def test_what_is_not_there_is_one_sentence(work: Work, tmp_path: Path) -> None:
    def said(source: str) -> str:
        done = CliRunner().invoke(app, ["predict", source, "--run", str(work.run), "--device", "cpu"])
        assert done.exit_code == 1
        return str(done.exception)

    assert "there is no camera 7 here" in said("7")
    assert "does not answer" in said("rtsp://127.0.0.1:9/none")
    assert "cannot be read" in said(f"loop://{tmp_path}/none.mp4")


def test_json_lines_and_a_saved_copy(work: Work, tmp_path: Path) -> None:
    line = ["--quiet", "predict", f"loop://{work.videos}/left/ann.avi", "--run", str(work.run), "--device", "cpu"]
    done = CliRunner().invoke(app, [*line, "--seconds", "1.5", "--window", "0.3", "--json", "--save", str(tmp_path)])
    assert done.exit_code == 0, done.output
    facts = [json.loads(text) for text in done.stdout.splitlines()]
    assert facts[-1]["received"] > facts[0]["received"] > 0
    assert {"latency_median", "latency_95", "dropped", "fps"} <= facts[0].keys()
    assert [path.suffix for path in tmp_path.iterdir()] == [".mp4"]


def test_where_there_is_no_display_there_is_no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(live.sys, "platform", "linux")
    assert not live.has_window()
    monkeypatch.setenv("DISPLAY", ":0")
    for said, possible in (("GUI: NONE", False), ("  GUI:    GTK3", True)):
        monkeypatch.setattr(live.cv2, "getBuildInformation", lambda said=said: said)
        assert live.has_window() == possible


def test_a_file_behind_an_address_ends(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    video = work.videos / "left/ann.avi"
    monkeypatch.setattr(live, "_opened", lambda source: cv2.VideoCapture(str(video), cv2.CAP_FFMPEG))
    stats = LiveStats()
    taken = 0
    with captured("http://here/ann.avi", stats) as slot:
        while slot.take() is not None:
            taken += 1
    assert stats.received == 10
    assert taken + stats.dropped == 10
