"""Does `sample` tell models apart as it should? Renders it, trains small models on it and prints what they reach.

    python tests/acceptance/sample_acceptance.py [--archives FOLDER] [--workers 2]

Plain torch on arrays in memory, nothing of harbench but the renderer and `motion3d`: an independent reading of the same
files. About 20 minutes of CPU time. Exit code 1 when a bound is missed. The table stands in `splits/sample/README.md`.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import torch
from sklearn.ensemble import RandomForestClassifier
from torch import nn
from torch.nn import functional

from harbench.datasets.sample import CLASSES, GAITS, REVERSED, SPEC, split_rows
from harbench.models.motion3d import motion3d
from harbench.synthetic import draw
from harbench.synthetic.archive import render_archives
from harbench.synthetic.persons import GAIT_RATES
from harbench.synthetic.take import FPS, MAX_FRAMES, make_take

Array = npt.NDArray[np.generic]
STILLS = 8
"""Single frames kept of each video."""
WIDTH, SIDE = 85, 64
"""Frames are scaled to 85x64; models see 64x64 of them."""
GAIT = [CLASSES.index(label) for label in GAITS]
PAIR = [CLASSES.index(label) for label in REVERSED]
CLEAR = [CLASSES.index(label) for label in ("box", "wave", "clap")]


@dataclass(frozen=True)
class Data:
    """The videos of one split as arrays, `N` in the order of the table."""

    gray: npt.NDArray[np.uint8]
    """[N, MAX_FRAMES, 64, 85]"""
    stills: npt.NDArray[np.uint8]
    """[N, STILLS, 64, 85, 3]"""
    joints: npt.NDArray[np.float32]
    """[N, MAX_FRAMES, 17, 3]"""
    length: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]
    person: npt.NDArray[np.int64]
    test: npt.NDArray[np.bool_]
    sizes: npt.NDArray[np.float64]
    """[N, 5]: what the size of a file tells: bytes; mean, deviation and middle of the frames' bytes; frames."""
    residue: npt.NDArray[np.float64]
    """[N, 6]: what the coder left in the middle frame: mean, deviation, maximum, 99 % of the error, blockiness x and y."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archives", type=Path, help="where the rendered archives are kept; default: nowhere")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.archives or Path(scratch)
        render_archives(SPEC, ["official", "biased"], folder, workers=arguments.workers)
        bounds = [*oracle(), *official(load("official", folder)), *biased(load("biased", folder))]
    missed = [line for line, held in bounds if not held]
    print(f"\n{len(bounds) - len(missed)} of {len(bounds)} bounds hold" + "".join(f"\n  missed: {m}" for m in missed))
    return 1 if missed else 0


Bound = tuple[str, bool]


def say(what: str, value: float, low: float = 0.0, high: float = 100.0) -> Bound:
    """One line of the table: value in percent and the range it has to be in."""
    held = low <= value <= high
    line = f"| {what} | {value:.2f} | {low:.1f} to {high:.1f} |{'' if held else ' MISSED'}"
    print(line, flush=True)
    return line, held


def chance(classes: int, samples: int) -> float:
    """Chance in percent with two and a half standard errors of noise."""
    share = 1 / classes
    return 100 * (share + 2.5 * math.sqrt(share * (1 - share) / samples))


# ------------------------------------------------------------------------------------------------------------ measures
def oracle() -> list[Bound]:
    """Nearest class in the logarithm of the true rate; knowing a person is dividing by the person's cadence."""
    rates = np.log(list(GAIT_RATES.values()))
    right: dict[str, list[bool]] = {"official": [], "random": []}
    for row in split_rows():
        for split, answers in right.items():
            if row[split] != "test":
                continue
            label, person, scenario, part = _parse(row["media"])
            if label in GAITS:
                take = make_take(label, person, scenario, part)
                rate = take.rate / (take.who.cadence if split == "random" else 1)
                answers.append(bool(np.abs(np.log(rate) - rates).argmin() == GAITS.index(label)))
            else:
                answers.append(True)
    official, random = (100 * float(np.mean(answers)) for answers in right.values())
    return [
        say("oracle, official (unseen persons)", official, 96, 99),
        say("oracle that knows the persons, random", random, official + 1, 100),
    ]


def official(data: Data) -> list[Bound]:
    """Everything that is measured on unseen persons."""
    bounds = []
    bounds += single("small CNN, single frames", data, predict_stills(data, 20))
    bounds.append(folded(data))
    bounds += single("MLP, single pose", data, predict_poses(data, _mlp(), 1, 60))
    gaits = np.isin(data.target, GAIT)
    for name, features in (("file size", data.sizes), ("residue of a frame", data.residue)):
        train, test = gaits & ~data.test, gaits & data.test
        forest = RandomForestClassifier(300, min_samples_leaf=3, random_state=0).fit(
            features[train], data.target[train]
        )
        accuracy = 100 * float(np.mean(forest.predict(features[test]) == data.target[test]))
        bounds.append(say(f"random forest, {name}: gaits", accuracy, 0, chance(3, int(test.sum()))))
    found = predict_motion(data, 14)
    bounds.append(say("motion3d, 16 frames, stride 2: all", accuracy_of(data, found), 90))
    found = predict_poses(data, _temporal(), 32, 60)
    bounds.append(say("1D CNN on poses, 32 frames, stride 2: all", accuracy_of(data, found), 90))
    return bounds


def biased(data: Data) -> list[Bound]:
    """Who looks at the backdrop is wrong on every test video; who looks at the motion is not."""
    found = predict_stills(data, 15)
    still = accuracy_of(data, found)
    moving = accuracy_of(data, predict_motion(data, 20))
    return [
        say("biased: small CNN, single frames", still, 0, 50),
        say("biased: motion3d", moving, still + 20, 100),
    ]


def single(name: str, data: Data, found: Array) -> list[Bound]:
    """The bounds of a model that sees one moment: chance within the gaits and the pair, good at the clear actions."""
    target = data.target[data.test]

    def within(labels: Sequence[int]) -> tuple[float, int]:
        chosen = np.isin(target, labels)
        return 100 * float(np.mean(found[chosen] == target[chosen])), int(chosen.sum())

    (gaits, n), (pair, m), (clear, _) = within(GAIT), within(PAIR), within(CLEAR)
    return [
        say(f"{name}: walk, jog, run", gaits, 0, chance(3, n)),
        say(f"{name}: sit_down, stand_up", pair, 0, chance(2, m)),
        say(f"{name}: box, wave, clap", clear, 90),
    ]


def folded(data: Data) -> Bound:
    """The sharper question: gaits alone, all 25 persons in turn, so three times as many test videos."""
    right: list[bool] = []
    for fold in np.array_split(np.random.default_rng(0).permutation(np.unique(data.person)), 5):
        gaits = np.isin(data.target, GAIT)
        part = Data(**{name: values[gaits] for name, values in vars(data).items()})
        part = replace(part, test=np.isin(part.person, fold))
        right += (predict_stills(part, 16) == part.target[part.test]).tolist()
    return say("small CNN, gaits only, 5 folds of persons", 100 * float(np.mean(right)), 0, chance(3, len(right)))


def accuracy_of(data: Data, found: Array) -> float:
    return 100 * float(np.mean(found == data.target[data.test]))


# -------------------------------------------------------------------------------------------------------------- models
def small_cnn() -> nn.Module:
    blocks: list[nn.Module] = []
    for inputs, outputs in ((3, 24), (24, 48), (48, 96), (96, 128)):
        for channels in (inputs, outputs):
            convolution = nn.Conv2d(channels, outputs, 3, padding=1, bias=False)
            blocks += [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]
        blocks.append(nn.MaxPool2d(2))
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(128, len(CLASSES)))
    return nn.Sequential(*blocks, *head)


def _mlp() -> nn.Module:
    hidden = [nn.Flatten(), nn.Linear(51, 256), nn.ReLU(), nn.Dropout(0.3), nn.Linear(256, 256), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Dropout(0.3), nn.Linear(256, len(CLASSES)))


def _temporal() -> nn.Module:
    blocks: list[nn.Module] = []
    for inputs, outputs, stride in ((51, 96, 1), (96, 96, 2), (96, 128, 2), (128, 128, 1)):
        blocks += [nn.Conv1d(inputs, outputs, 5, stride, padding=2), nn.BatchNorm1d(outputs), nn.ReLU()]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(128, len(CLASSES)))


def predict_stills(data: Data, epochs: int) -> Array:
    """Trained on random single frames; all frames of a test video vote."""

    def batch(rows: Array, rng: np.random.Generator | None, view: int) -> torch.Tensor:
        crops = []
        for row in rows:
            still = view if rng is None else rng.integers(STILLS)
            crops.append(_crop(data.stills[row, still], rng))
        return _scaled(np.stack(crops)).permute(0, 3, 1, 2)

    return fit_and_predict(data, small_cnn(), batch, epochs=epochs, rate=2e-3, size=48, views=STILLS)


def predict_motion(data: Data, epochs: int) -> Array:
    """16 frames at stride 2, three clips a test video."""

    def batch(rows: Array, rng: np.random.Generator | None, view: int) -> torch.Tensor:
        clips = []
        for row in rows:
            room = int(data.length[row]) - 31
            start = rng.integers(room + 1) if rng is not None else round(room * (view + 0.5) / 3)
            clips.append(_crop(data.gray[row, start : start + 32 : 2], rng))
        return _scaled(np.stack(clips))[:, None]

    network = motion3d(len(CLASSES), dropout=0.3)
    return fit_and_predict(data, network, batch, epochs=epochs, rate=2e-3, size=32, views=3, smoothing=0.1)


def predict_poses(data: Data, network: nn.Module, frames: int, epochs: int) -> Array:
    """`frames` poses at stride 2 (all the time there is for more than one), centered and scaled as a whole."""

    def batch(rows: Array, rng: np.random.Generator | None, view: int) -> torch.Tensor:
        poses = []
        for row in rows:
            last = int(data.length[row]) - 1
            room = max(last - 2 * (frames - 1), 0)
            start = rng.integers(room + 1) if rng is not None else round(room * (view + 0.5) / 3)
            pose = data.joints[row, np.minimum(start + 2 * np.arange(frames), last)].copy()
            seen = pose[..., 2:] > 0
            if rng is not None and rng.random() < 0.5:
                pose[..., 0] = -pose[..., 0]
            center = (pose[..., :2] * seen).sum((0, 1)) / max(seen.sum(), 1)
            pose[..., :2] = (pose[..., :2] - center) * seen
            pose[..., :2] /= np.sqrt((pose[..., :2] ** 2).sum() / max(seen.sum(), 1))
            poses.append(pose.reshape(frames, -1).T)
        return torch.from_numpy(np.stack(poses))

    return fit_and_predict(data, network, batch, epochs=epochs, rate=2e-3, size=32, views=3)


def fit_and_predict(
    data: Data,
    network: nn.Module,
    batch: Callable[[Array, np.random.Generator | None, int], torch.Tensor],
    *,
    epochs: int,
    rate: float,
    size: int,
    views: int,
    smoothing: float = 0.0,
) -> Array:
    """Train on the persons of train, return the class of every test video: AdamW, warm-up of an epoch, cosine."""
    rng = np.random.default_rng(0)
    train, test = np.flatnonzero(~data.test), np.flatnonzero(data.test)
    steps = len(train) // size
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / steps) * (1 + math.cos(math.pi * step / (epochs * steps))) / 2
    )
    for _ in range(epochs):
        network.train()
        order = rng.permutation(train)
        for rows in np.split(order[: steps * size], steps):
            scores = network(batch(rows, rng, 0))
            loss = functional.cross_entropy(scores, torch.from_numpy(data.target[rows]), label_smoothing=smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    network.eval()
    with torch.inference_mode():
        found = [
            sum(network(batch(rows, None, view)).softmax(1) for view in range(views)).argmax(1)
            for rows in np.array_split(test, math.ceil(len(test) / 64))
        ]
    return torch.cat(found).numpy()


def _crop(pictures: Array, rng: np.random.Generator | None) -> Array:
    """64 of the 85 columns (axis 1 of a still, 2 of a clip), flipped half of the time in training."""
    axis = 2 if pictures.shape[-1] == WIDTH else 1
    start = (WIDTH - SIDE) // 2 if rng is None else rng.integers(WIDTH - SIDE + 1)
    cropped = pictures.take(np.arange(start, start + SIDE), axis=axis)
    return np.flip(cropped, axis) if rng is not None and rng.random() < 0.5 else cropped


def _scaled(pictures: Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(pictures)).float() / 127.5 - 1


# ---------------------------------------------------------------------------------------------------------------- data
def load(split: str, folder: Path) -> Data:
    """Decode every video of a split from the archives."""
    rows = [row for row in split_rows() if row[split]]
    gray = np.zeros((len(rows), MAX_FRAMES, SIDE, WIDTH), np.uint8)
    stills = np.zeros((len(rows), STILLS, SIDE, WIDTH, 3), np.uint8)
    joints = np.zeros((len(rows), MAX_FRAMES, 17, 3), np.float32)
    length, sizes, residue = [], [], []
    for index, row in enumerate(rows):
        label, person, scenario, part = _parse(row["media"])
        with zipfile.ZipFile(folder / f"{part}-person{person:02d}.zip") as archive:
            content = archive.read(row["media"])
            pose = np.load(io.BytesIO(archive.read(row["media"].removesuffix(".avi") + SPEC.pose_suffix)))
        with av.open(io.BytesIO(content)) as container:
            assert container.streams.video[0].average_rate == FPS
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
            container.seek(0)
            packets = [packet.size for packet in container.demux(video=0) if packet.size]
        small = np.stack([cv2.resize(frame, (WIDTH, SIDE), interpolation=cv2.INTER_AREA) for frame in frames])
        gray[index, : len(small)] = small.mean(axis=-1).round()
        stills[index] = small[((np.arange(STILLS) + 0.5) / STILLS * len(small)).astype(int)]
        joints[index, : len(pose)] = pose[:, 0]
        length.append(len(frames))
        middle = len(frames) // 2
        sizes.append([len(content), np.mean(packets), np.std(packets), packets[middle], len(packets)])
        drawn = draw.frames(
            make_take(label, person, scenario, part).only(middle if label != REVERSED[1] else -1 - middle)
        )
        residue.append(_residue(frames[middle].astype(float), drawn[0].astype(float)))
    target = np.array([CLASSES.index(row["class"]) for row in rows])
    test = np.array([row[split] == "test" for row in rows])
    person = np.array([int(row["group"].removeprefix("person")) for row in rows])
    return Data(gray, stills, joints, np.array(length), target, person, test, np.array(sizes), np.array(residue))


def _residue(decoded: Array, drawn: Array) -> list[float]:
    error = np.abs(decoded - drawn)
    edges = [np.abs(np.diff(decoded.mean(axis=-1), axis=axis)) for axis in (0, 1)]
    blocks = [edges[0][7::8].mean() / edges[0].mean(), edges[1][:, 7::8].mean() / edges[1].mean()]
    return [error.mean(), error.std(), error.max(), float(np.percentile(error, 99)), *blocks]


def _parse(media: str) -> tuple[str, int, int, str]:
    """(class, person, scenario, part) of a media name."""
    *folders, name = media.removesuffix(".avi").split("/")
    label = folders[-1]
    scenario, _, part = name.removeprefix(f"{name[:8]}_{label}_d").partition("_")
    return label, int(name[6:8]), int(scenario), "biased" if folders[0] == "biased" else part


if __name__ == "__main__":
    sys.exit(main())
