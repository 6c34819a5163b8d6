"""Small inputs that several tests share: drawn videos, and the code blocks of a Markdown page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

PEOPLE = ("ann", "bea", "cid", "dan", "eve", "fay")
MANY_SPEC = """
from harbench.records import DatasetSpec
SPEC = DatasetSpec(name="many", title="Many", modality="video", unit="video", splits=("official",), group="person",
                   leave_one_group_out=True, short_side={short_side})
"""
MANY_RECIPE = """
family: 3d-cnn
data: {dataset: many, cache: {short_side: 32}}
input:
  clip: {dense: {num_frames: 16, stride: 1}}
  resize: 32
  size: 32
  normalize: half
model: {name: motion3d, args: {width: 4}}
train: {epochs: 3, batch_size: 4, workers: 0, optimizer: {name: adamw, lr: 0.01}}
eval: {clips: 2}
"""


TINY_HF = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96}
"""Of a transformer of the package `transformers`."""
TINY_TOWER = {**TINY_HF, "image_size": 32, "patch_size": 16}
TINY_TEXT = {
    **TINY_HF, "vocab_size": 99, "max_position_embeddings": 24, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2
}  # fmt: skip


class Work(NamedTuple):
    """A data home with a finished run in it."""

    home: Path
    runs: Path
    run: Path
    videos: Path


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


def many_people(folder: Path) -> Path:
    """A prepared data home in `folder`/home with six people who move a square left or right, and `folder`/many.yaml."""
    from harbench import api

    home = folder / "home"
    rows = ["media,class,group,official"]
    for index, person in enumerate(PEOPLE):
        for direction in ("left", "right"):
            clip = np.full((10, 40, 56, 3), 20 + 10 * index, dtype=np.uint8)
            for t in range(10):
                x = 4 + 3 * (t if direction == "right" else 9 - t)
                clip[t, 10:26, x : x + 10] = 220
            write_video(folder / "videos" / direction / f"{person}.avi", clip)
            rows.append(f"{direction}/{person}.avi,{direction},{person},{'test' if index > 3 else 'train'}")
    (home / "datasets").mkdir(parents=True)
    (home / "splits/many").mkdir(parents=True)
    (home / "datasets/many.py").write_text(MANY_SPEC.format(short_side=0))
    (home / "splits/many/samples.csv").write_text("\n".join(rows) + "\n")
    (folder / "many.yaml").write_text(MANY_RECIPE)
    report = api.prepare("many", home=home, source=folder / "videos", short_side=32, workers=1)
    assert (report.present, report.cached, report.incomplete) == (12, 12, 0)
    return folder


def tokenizer_beside(folder: Path) -> Any:
    """A tokenizer.json of single letters that begins with 1 and ends with 2, as CLIP's marks a sentence."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    letters = {token: at for at, token in enumerate(["<pad>", "<s>", "</s>", "?", *"abcdefghijklmnopqrstuvwxyz"])}
    made = Tokenizer(models.WordLevel(letters, unk_token="?"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    made.save(str(folder / "tokenizer.json"))
    return made


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
