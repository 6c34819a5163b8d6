"""Small inputs that several tests share: drawn videos, and the code blocks of a Markdown page."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np


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
