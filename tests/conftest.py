"""Shared fixtures: real inputs, a closed network, temporary homes, untouched random state."""

from __future__ import annotations

import os
import random
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real inputs, `HARBENCH_TEST_DATA`; tests that need it skip loudly without it."""
    folder = os.environ.get("HARBENCH_TEST_DATA")
    if not folder:
        pytest.skip("HARBENCH_TEST_DATA is not set: this test reads real data sets and was NOT run")
    return Path(folder)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any connection that leaves this machine is a failure of the test."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if self.family == socket.AF_UNIX or (isinstance(address, tuple) and address[0] in ("127.0.0.1", "::1")):
            return connect(self, address)  # type: ignore[arg-type]
        raise AssertionError(f"a test tried to reach {address}")

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def _random_state() -> Iterator[None]:
    """Tests leave the global generators as they found them."""
    states = random.getstate(), np.random.get_state()
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own data home never leaks into a test."""
    for name in ("HARBENCH_HOME", "HARBENCH_RUNS"):
        monkeypatch.delenv(name, raising=False)


def write_video(path: Path, frames: np.ndarray, fps: int = 25) -> None:
    """Write RGB frames `[T, H, W, 3]` as MPEG-4."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        stream.bit_rate = 2_000_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def toy_videos(folder: Path, frames: int = 12) -> Path:
    """The videos of CONTRIBUTING's toy data set: a bright square moves left or right over a dark ground."""
    for name in ("ann_1", "ann_2", "bob_1"):
        for direction in ("left", "right"):
            clip = np.full((frames, 48, 64, 3), 40, dtype=np.uint8)
            for t in range(frames):
                x = 4 + 3 * (t if direction == "right" else frames - 1 - t)
                clip[t, 16:32, x : x + 12] = (220, 60 + 20 * len(name), 60)
            write_video(folder / direction / f"{name}.avi", clip)
    return folder


def fenced_blocks(text: str) -> list[tuple[str, str, str]]:
    """Fenced code blocks of a Markdown text as (last `backquoted` path before it, language, code)."""
    blocks, named, lines = [], "", iter(text.splitlines())
    for line in lines:
        if line.startswith("```"):
            code = []
            for inner in lines:
                if inner.startswith("```"):
                    break
                code.append(inner)
            blocks.append((named, line[3:].strip(), "\n".join(code) + "\n"))
        elif found := re.findall(r"`([\w/<> .-]+\.\w+)`", line):
            named = found[0]
    return blocks


@pytest.fixture
def toy_home(tmp_path: Path) -> Path:
    """A data home with the toy data set of CONTRIBUTING.md added as a user would, outside the checkout."""
    home = tmp_path / "home"
    text = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for name, language, code in fenced_blocks(text):
        if language == "python" and name.startswith("harbench/datasets/"):
            target = home / "datasets" / Path(name).name
        elif language == "csv" and name.endswith("samples.csv"):
            target = home / name
        else:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(code, encoding="utf-8")
    return home
