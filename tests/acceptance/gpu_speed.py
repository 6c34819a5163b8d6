"""Training speed and memory on a GPU against torchvision's reference loop, in one run. By hand.

python tests/acceptance/gpu_speed.py [--device cuda] [--models r3d_18 mvit_v2_s] [--batch 16] [--steps 20]
python tests/acceptance/gpu_speed.py --device cpu --tiny

mc3_18, r3d_18, r2plus1d_18 and mvit_v2_s on 101 classes, at the size that UCF-101 is trained in. Ours is `training.fit`
itself, from 8-bit clips in memory to the updated weights, deterministic kernels included. The other side is the inner loop
of torchvision's references/video_classification/train.py with cudnn.benchmark: in true fp32, with TF32, and with its
`--amp`. Its clips are normalized and pinned beforehand, which spares it what its loader would do.

Expected of every model: at least 3 times true fp32 and 1.3 times `--amp`; bf16 says what fp32 says; a training that was
stopped and went on has the same bytes, or the kernels are listed that add in no fixed order. Exit code 1 otherwise.

No number of this script is on record yet: it was written where no GPU was at hand, and run with `--device cpu --tiny`, which
takes every path but torch.compile's at toy size, measures nothing of worth, and holds no ratio against any limit.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torch import nn

from harbench.frames.clips import Batch, ClipDataset, Key
from harbench.frames.streams import normalize
from harbench.models.build import build_model
from harbench.recipe import InputConfig, ModelConfig, TrainConfig
from harbench.records import EpochStats
from harbench.training.checkpoint import INEXACT
from harbench.training.fit import fit
from harbench.training.setup import TrainData

CLASSES = 101
MODELS = ("mc3_18", "r3d_18", "r2plus1d_18", "mvit_v2_s")
OURS = {
    "bf16": {"amp": "bf16"},
    "bf16, channels last": {"amp": "bf16", "channels_last": True},
    "bf16, compiled": {"amp": "bf16", "compile": True},
}
"""Ways a recipe may ask for speed; the best of them is held against the limits."""
LIMITS = {"true fp32": 3.0, "--amp": 1.3}


@dataclass(frozen=True)
class Speed:
    """How a loop did."""

    clips: float
    """A second, without the first epoch."""
    memory: float
    """GB at the peak; 0 on the CPU."""


class Pool(ClipDataset):
    """8-bit clips in memory, so that neither decoding nor cropping is measured."""

    def __init__(self, shape: Sequence[int], clips: int) -> None:
        rng = np.random.default_rng(0)
        self.train = True
        self.targets = rng.integers(0, CLASSES, clips)
        self.frames = torch.from_numpy(rng.integers(0, 256, (clips, *shape), np.uint8))

    @property
    def ids(self) -> tuple[str, ...]:
        """One a clip."""
        return tuple(f"clip{index}" for index in range(len(self)))

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """The clips of these rows."""
        rows = np.array([key[2] for key in keys])
        return Batch(self.frames[rows], torch.from_numpy(self.targets[rows]), rows, np.zeros_like(rows))


def shape_of(name: str, tiny: bool) -> tuple[int, int, int, int]:
    """`[C, T, H, W]` of a clip."""
    if tiny:
        return (3, 4, 64, 64) if name == "mvit_v2_s" else (3, 4, 32, 32)
    return (3, 16, 224, 224) if name == "mvit_v2_s" else (3, 16, 112, 112)


def ours(name: str, tiny: bool) -> nn.Module:
    """The model as a recipe has it."""
    torch.manual_seed(0)
    _, frames, size, _ = shape_of(name, tiny)
    args = {"frames": frames, "size": size} if name == "mvit_v2_s" else {}
    return build_model(ModelConfig(name=name, args=args), CLASSES)


def data_of(pool: Pool) -> TrainData:
    """The pool as `fit` takes it."""
    clip = {"dense": {"num_frames": pool.frames.shape[2], "stride": 2}}
    config = InputConfig.model_validate({"clip": clip, "size": pool.frames.shape[3]})
    return TrainData(pool, None, partial(normalize, config=config))


def settings(batch: int, epochs: int, **options: object) -> TrainConfig:
    return TrainConfig.model_validate(
        {"epochs": epochs, "batch_size": batch, "workers": 0, "optimizer": {"name": "sgd", "lr": 0.01}, **options}
    )


def engine_speed(
    name: str, pool: Pool, batch: int, device: torch.device, tiny: bool, options: dict[str, object]
) -> Speed:
    """`fit` over three epochs; the first, which compiles and warms up, does not count."""
    fresh_memory(device)
    stats: list[EpochStats] = []
    with tempfile.TemporaryDirectory() as folder:
        config = settings(batch, 3, **options)
        stats = fit(ours(name, tiny), data_of(pool), config, device=device, seed=0, run_dir=Path(folder))
    seconds = sum(line.seconds for line in stats[1:])
    return Speed(len(pool) * len(stats[1:]) / seconds, peak(device))


def reference_speed(
    name: str, pool: Pool, batch: int, device: torch.device, tiny: bool, *, amp: bool, tf32: bool
) -> Speed:
    """The inner loop of torchvision's train_one_epoch, with the metrics that it takes in every step."""
    fresh_memory(device)
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
    if tiny:
        model = ours(name, tiny).to(device).train()  # torchvision's own would want clips of full size
    else:
        model = torchvision.models.get_model(name, weights=None, num_classes=CLASSES).to(device).train()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    scaler = torch.amp.GradScaler(device.type, enabled=amp)
    batches = [pinned(pool, start, batch, device) for start in range(0, len(pool), batch)]
    begin = 0.0
    for epoch in range(3):
        if epoch == 1:
            wait(device)
            begin = time.perf_counter()
        for host, truth in batches:
            video, target = host.to(device, non_blocking=True), truth.to(device, non_blocking=True)
            with torch.autocast(device.type, dtype=torch.float16, enabled=amp and device.type == "cuda"):
                output = model(video)
                loss = criterion(output, target)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            loss.item()
            for k in (1, 5):
                (output.topk(k, dim=1).indices == target[:, None]).any(1).float().mean().item()
    wait(device)
    return Speed(2 * len(pool) / (time.perf_counter() - begin), peak(device))


def pinned(pool: Pool, start: int, batch: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalized clips and their classes, as torchvision's loader hands them over."""
    clips = data_of(pool).normalize(pool.frames[start : start + batch])
    targets = torch.from_numpy(pool.targets[start : start + batch])
    return (clips.pin_memory(), targets.pin_memory()) if device.type == "cuda" else (clips, targets)


def bf16_against_fp32(name: str, pool: Pool, batch: int, device: torch.device, tiny: bool) -> tuple[float, float]:
    """Of one trained model in bf16 and true fp32: how far the logits are apart, as a share of how far they spread; and the
    share of equal decisions.
    """
    model = ours(name, tiny)
    with tempfile.TemporaryDirectory() as folder:
        fit(model, data_of(pool), settings(batch, 1), device=device, seed=0, run_dir=Path(folder))
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    clips = data_of(pool).normalize(pool.frames[:batch].to(device))
    model.eval()
    with torch.inference_mode():
        full = model(clips).float()
        with torch.autocast(device.type, dtype=torch.bfloat16):
            short = model(clips).float()
    spread = full - full.mean(1, keepdim=True)
    return float((full - short).norm() / spread.norm()), float((full.argmax(1) == short.argmax(1)).float().mean())


class Stopped(KeyboardInterrupt):
    """As Ctrl-C."""


def resumed(name: str, pool: Pool, batch: int, device: torch.device, tiny: bool) -> tuple[bool, list[str]]:
    """Whether a training stopped after one epoch of two ends with the same bytes, and the kernels that do not allow it."""

    def stop(items: Iterable[Any], what: str, total: int = 0, unit: str = "items") -> Iterator[Any]:
        yield from itertools.islice(items, total // 2 + 1)
        raise Stopped

    config = settings(batch, 2, amp="bf16")
    models, words = [], []
    for stopping in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            model, run_dir = ours(name, tiny), Path(folder)
            if stopping:
                try:
                    data = replace(data_of(pool), track=stop)
                    fit(model, data, config, device=device, seed=0, run_dir=run_dir)
                except Stopped:
                    model = ours(name, tiny)
            fit(model, data_of(pool), config, device=device, seed=0, run_dir=run_dir)
            models.append(model.state_dict())
            if (run_dir / INEXACT).exists():
                words += (run_dir / INEXACT).read_text().splitlines()
    whole, again = models
    return all(torch.equal(whole[key], again[key]) for key in whole), sorted(set(words))


def fresh_memory(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak(device: torch.device) -> float:
    return torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else 0.0


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measured(name: str, batch: int, steps: int, device: torch.device, tiny: bool) -> list[str]:
    """Everything about one model, printed; what was expected and did not come."""
    pool = Pool(shape_of(name, tiny), batch * steps)
    others = {
        "true fp32": reference_speed(name, pool, batch, device, tiny, amp=False, tf32=False),
        "TF32": reference_speed(name, pool, batch, device, tiny, amp=False, tf32=True),
        "--amp": reference_speed(name, pool, batch, device, tiny, amp=True, tf32=True),
    }
    ways = {how: options for how, options in OURS.items() if not (tiny and "compile" in options)}
    mine = {how: engine_speed(name, pool, batch, device, tiny, options) for how, options in ways.items()}
    for side, speeds in (("torchvision", others), ("harbench", mine)):
        for how, speed in speeds.items():
            print(f"{name:12} {side:12} {how:20} {speed.clips:9.1f} clips/s {speed.memory:7.2f} GB", flush=True)
    best = max(mine, key=lambda how: mine[how].clips)
    problems = []
    for how, limit in LIMITS.items():
        ratio = mine[best].clips / others[how].clips
        print(f"{name:12} {best}: {ratio:.2f} times {how}, expected {limit:g}", flush=True)
        if ratio < limit and not tiny:
            problems.append(f"{name} is {ratio:.2f} times {how}")
    difference, equal = bf16_against_fp32(name, pool, batch, device, tiny)
    print(f"{name:12} bf16 against fp32: logits {difference:.2%} apart, {equal:.1%} equal decisions", flush=True)
    if difference > 0.05:
        problems.append(f"{name}: bf16 differs from fp32 by {difference:.2%}")
    same, words = resumed(name, pool, batch, device, tiny)
    print(f"{name:12} stopped and gone on with: {'equal to the byte' if same else 'differs'}", flush=True)
    print("\n".join(f"  no deterministic kernel: {line}" for line in words), end="\n" if words else "", flush=True)
    if not same and not words:
        problems.append(f"{name}: resume differs, and no kernel says why")
    return problems


def main() -> int:
    """Exit code 1 when something expected did not come."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20, help="of an epoch; three are run, two count")
    parser.add_argument(
        "--tiny", action="store_true", help="toy size: whether the script works, not how fast anything is"
    )
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("there is no GPU here; --device cpu --tiny shows that the script works")
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{where}, torch {torch.__version__}, batches of {options.batch}", flush=True)
    batch, steps = (2, 2) if options.tiny else (options.batch, options.steps)
    problems = [line for name in options.models for line in measured(name, batch, steps, device, options.tiny)]
    print("\n".join(problems) or "as expected")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
