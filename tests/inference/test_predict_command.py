"""`harbench predict`: sources, segments, subtitles, annotated copies, exit codes."""

from __future__ import annotations

import csv
import io
import json
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import Work, write_video
from typer.testing import CliRunner

from harbench.cli import app
from harbench.inference.overlay import draw_bars, video_writer
from harbench.inference.predictor import Prediction
from harbench.inference.segments import csv_table, merged, smoothed, srt_text
from harbench.records import ClassLabel

CLASSES = (ClassLabel("left", "left"), ClassLabel("right", "right"))


def window(start: float, end: float, right: float, threshold: float = 0.0) -> Prediction:
    return Prediction("a.mp4", start, end, CLASSES, np.array([1 - right, right]), {"decode": 0, "model": 0}, threshold)


def predict(work: Work, *words: object, code: int = 0, stdin: bytes | None = None) -> str:
    line = ["--quiet", "--home", str(work.home), "--runs", str(work.runs), "predict", *map(str, words)]
    done = CliRunner().invoke(app, [*line, "--device", "cpu"], input=stdin)
    assert done.exit_code == code, (done.output, done.exception)
    return done.stdout


def test_every_kind_of_source(work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = work.run.relative_to(work.runs)
    listed = tmp_path / "list.txt"
    listed.write_text(f"{work.videos}/left/ann.avi\n\n{work.videos}/right/ann.avi\n")
    table = work.videos / "table.csv"
    table.write_text("path,label\nleft/ann.avi,left\n")
    for source, count in ((work.videos, 12), (work.videos / "left", 6), (f"{work.videos}/*/ann.avi", 2), (listed, 2),
                          (table, 1), (work.videos / "left/ann.avi", 1)):  # fmt: skip
        lines = predict(work, source, "--run", run, "--json").splitlines()
        assert len(lines) == count
        assert all(set(json.loads(line)["predictions"][0]["probabilities"]) == {"left", "right"} for line in lines)
    table.unlink()
    content = (work.videos / "left/ann.avi").read_bytes()
    assert "stdin.mp4: " in predict(work, "-", "--run", run, stdin=content)


def test_broken_files_among_others_are_named(work: Work, tmp_path: Path) -> None:
    (tmp_path / "a.avi").write_bytes((work.videos / "left/ann.avi").read_bytes())
    (tmp_path / "b.avi").write_bytes(b"")
    said = predict(work, tmp_path, "--run", work.run, code=3)
    assert "b.avi: failed: the file is empty" in said
    assert "a.avi: " in said
    predict(work, tmp_path / "b.avi", "--run", work.run, code=1)
    predict(work, tmp_path / "none*", "--run", work.run, code=1)
    predict(work, tmp_path / "a.avi", "--run", tmp_path, code=1)
    predict(work, tmp_path / "a.avi", "--run", work.run, "--window", 0, code=1)
    predict(work, tmp_path / "a.avi", "--run", work.run, "--stride", -1, code=1)


def test_annotated_copies_subtitles_and_tables(work: Work, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_video(tmp_path / "in/long.avi", np.full((75, 40, 57 - 1, 3), 90, np.uint8))
    cv2.imwrite(str(tmp_path / "in/still.png"), np.full((300, 400, 3), 90, np.uint8))
    said = predict(work, tmp_path / "in", "--run", work.run, "--window", 1, "--save", tmp_path / "out",
                   "--csv", tmp_path / "t.csv", "--smooth", 3)  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "long_annotated.mp4",
        "long_annotated.srt",
        "still_annotated.jpg",
    ]
    assert "long.avi: 6 windows" in said
    with av.open(str(tmp_path / "out/long_annotated.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(frames) == 75
    assert frames[10].shape[0] >= 320
    assert frames[10].std() > 5, "something is drawn on it"
    content = (tmp_path / "out/long_annotated.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat"), "a browser can play it while it loads"
    assert cv2.imread(str(tmp_path / "out/still_annotated.jpg")).shape[0] == 600
    rows = list(csv.DictReader(io.StringIO((tmp_path / "t.csv").read_text())))
    assert [row["start"] for row in rows] == ["0.000", "0.480", "0.960", "1.440", "1.920", "2.000", "0.000"]
    assert predict(work, tmp_path / "in/long.avi", "--run", work.run, "--threshold", 1).count("nothing") == 1


def test_a_killed_writer_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), video_writer(tmp_path / "a.mp4", 25) as write:
        write(np.zeros((33, 47, 3), np.uint8))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------------------ segments
def test_neighbors_of_one_label_are_one_segment() -> None:
    found = merged([window(0, 4, 0.1), window(2, 6, 0.2), window(4, 8, 0.9), window(6, 10, 0.1, threshold=0.95)])
    assert [(each.start, each.end, each.label) for each in found] == [(0, 5, "left"), (5, 7, "right"), (7, 10, "")]
    assert found[0].probability == pytest.approx(0.85)
    text = srt_text(found)
    assert text.startswith(
        "1\n00:00:00,000 --> 00:00:05,000\nleft 85%\n\n2\n00:00:05,000 --> 00:00:07,000\nright 90%\n"
    )
    assert "nothing" not in text
    assert (
        csv_table([window(0, 4, 0.1, threshold=0.95)], 2).splitlines()[1]
        == "a.mp4,0.000,4.000,nothing,left,0.900000,right,0.100000"
    )


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.sampled_from([0.5, 1.0, 2.0, 4.0, 5.0]))
def test_segments_tile_the_video(rights: list[float], stride: float) -> None:
    windows = [window(n * stride, n * stride + 4, right) for n, right in enumerate(rights)]
    found = merged(windows)
    assert (found[0].start, found[-1].end) == (0, windows[-1].end)
    assert all(a.end == b.start and a.label != b.label and a.end > a.start for a, b in pairwise(found))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.integers(1, 7))
def test_smoothing_is_a_moving_average(rights: list[float], width: int) -> None:
    found = [
        each.probabilities[1] for each in smoothed([window(n, n + 1, right) for n, right in enumerate(rights)], width)
    ]
    half = width // 2
    expected = [np.mean(rights[max(0, n - half) : n + width - half]) for n in range(len(rights))]
    np.testing.assert_allclose(found, expected if width > 1 else rights)


@pytest.mark.parametrize("size", [(8, 8), (64, 48), (480, 640), (2160, 3840)])
def test_bars_fit_pictures_of_any_size(size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 200, np.uint8)
    drawn = draw_bars(image, [("walk", 0.8), ("клас", 0.1), ("run", 0.1)], "walk")
    assert drawn.shape == image.shape
