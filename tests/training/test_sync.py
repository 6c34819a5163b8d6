"""Batch statistics over several processes, and batches too small for them.

torch's SyncBatchNorm is a kernel of GPUs; here a module stands in for it that, like it, waits for all ranks in every
forward pass, so a rank with fewer passes would stop the others for good.
"""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.nn.functional import all_reduce

from harbench.errors import RunError
from harbench.evaluation import distributed
from harbench.frames.clips import ClipDataset
from harbench.frames.loader import load_each
from harbench.recipe import InputConfig, TrainConfig
from harbench.records import MediaInfo, Sample
from harbench.training.batches import BatchPlan
from harbench.training.checkpoint import Progress
from harbench.training.fit import fit
from harbench.training.optim import build_optimizer, build_scheduler
from harbench.training.setup import TrainData, Training
from harbench.training.step import take_step

CPU = torch.device("cpu")


class Noise:
    """Videos of 4 frames of 8x8."""

    def __contains__(self, media: object) -> bool:
        return True

    def info(self, media: str) -> MediaInfo:
        return MediaInfo(frames=4, fps=25.0, width=8, height=8)

    def read(self, media: str, indices: np.ndarray) -> np.ndarray:
        return np.random.default_rng(int(media)).integers(0, 255, (4, 8, 8, 3), dtype=np.uint8)[indices]


class Centered(nn.Module):
    """Minus the mean over all samples of all ranks."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        sums = torch.cat([features.sum(0), torch.tensor([float(len(features))])])
        if distributed.size() > 1:
            sums = all_reduce(sums)
        return features - sums[:-1] / sums[-1]


def scale(frames: torch.Tensor) -> torch.Tensor:
    return frames.float() / 255 - 0.5


def config(**changes: object) -> TrainConfig:
    basic = {"epochs": 2, "batch_size": 16, "workers": 0, "optimizer": {"lr": 0.05}, "bn": "sync"}
    return TrainConfig.model_validate(basic | changes)


def training(samples: int, folder: Path, norm: nn.Module | None = None, **changes: object) -> Training:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 8 * 8, 8), norm or Centered(), nn.Tanh(), nn.Linear(8, 3))
    rows = [Sample(f"s/{i}", i % 3, "", "train", str(i)) for i in range(samples)]
    clip = InputConfig.model_validate({"clip": {"dense": {"num_frames": 4, "stride": 1}}, "size": 8, "resize": 8})
    data = TrainData(ClipDataset(rows, Noise(), clip, seed=0, views=None), None, scale)
    settings = config(**changes)
    optimizer = build_optimizer(model, settings.optimizer)
    scheduler = build_scheduler(optimizer, settings.schedule, 2, settings.epochs)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    return Training(model, model, optimizer, scheduler, scaler, None, data, settings, CPU, 0, folder)


def work(folder: Path, micro: int | None) -> dict[str, np.ndarray]:
    """Two epochs of batches of 16 and 17."""
    torch.set_num_threads(1)
    made, progress = training(33, folder, micro_batch=micro), Progress()
    made.batches.check_sync()
    for batch in load_each(made.data.train, made.batches.keys(0), 0):
        take_step(made, progress, batch)
    return {name: tensor.numpy().copy() for name, tensor in made.model.state_dict().items()}


def join(rank: int, folder: Path, micro: int | None, results: multiprocessing.Queue) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet{micro}", rank=rank, world_size=2)
    try:
        results.put(work(folder, micro))
    finally:
        dist.destroy_process_group()


def together(folder: Path, micro: int | None) -> list[dict[str, np.ndarray]]:
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [context.Process(target=join, args=(rank, folder, micro, results)) for rank in range(2)]
    for process in processes:
        process.start()
    try:
        return [results.get(timeout=60) for _ in processes]
    finally:
        for process in processes:
            process.kill()
            process.join()


def test_two_ranks_with_common_statistics_are_one(tmp_path: Path) -> None:
    expected = work(tmp_path, None)
    for found in together(tmp_path, None):
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], atol=2e-5, rtol=1e-4)


def test_no_rank_waits_for_a_forward_pass_that_another_does_not_make(tmp_path: Path) -> None:
    one, other = together(tmp_path, 8)  # 9 and 8 samples: two passes each, not two and one
    assert all(np.array_equal(one[name], other[name]) for name in one)


def as_one_of(count: int, monkeypatch: pytest.MonkeyPatch, rank: int = 0) -> None:
    monkeypatch.setattr(distributed, "size", lambda: count)
    monkeypatch.setattr(distributed, "rank", lambda: rank)


@pytest.mark.parametrize(
    ("samples", "changes", "words"),
    [
        (35, {}, r"batch of 3 in parts of any size .* Use --devices 3, or .* at least 4 of the 35 clips"),
        (37, {"mixup": 0.2}, r"batch of 5 .* Use --devices 3, or .* at least 8 of the 37"),
        (38, {"micro_batch": 1}, r"batch of 6 in parts of 1 .* Use --set train\.micro_batch=2"),
        (32, {}, ""),
        (35, {"bn": "train"}, ""),
        (38, {"micro_batch": 2}, ""),
    ],
)
def test_a_rank_without_samples_is_told_before_training(
    monkeypatch: pytest.MonkeyPatch, samples: int, changes: dict[str, object], words: str
) -> None:
    as_one_of(4, monkeypatch)
    plan = BatchPlan(samples, 0, config(**changes))
    if not words:
        plan.check_sync()
        return
    with pytest.raises(RunError, match=words):
        plan.check_sync()


def test_a_small_last_batch_goes_to_fewer_ranks_rather_than_in_single_samples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = []
    for rank in range(4):
        as_one_of(4, monkeypatch, rank)
        parts = BatchPlan(37, 0, config(bn="train")).parts(2)
        found.append([part.stop - part.start for part in parts])
    assert found == [[3], [2], [], []]


@pytest.mark.parametrize(
    ("samples", "changes", "words"),
    [
        (5, {"micro_batch": 2}, r"got one of the batch of 5 at step 0 \(epoch 1\).*\n.*--set train\.micro_batch=3\n"),
        (1, {}, r"batch of 1 at step 0 .*\n.*--set train\.batch_size=2\n.*--set train\.bn=frozen"),
    ],
)
def test_batch_norm_of_a_single_sample_is_told(
    tmp_path: Path, samples: int, changes: dict[str, object], words: str
) -> None:
    made = training(samples, tmp_path, nn.BatchNorm1d(8), bn="train", **changes)
    with pytest.raises(RunError, match=words):
        fit(made.model, made.data, made.config, device=CPU, seed=0, run_dir=tmp_path)


def test_a_share_of_a_single_sample_asks_for_fewer_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = training(16, tmp_path, nn.BatchNorm1d(8), bn="train", batch_size=4)
    as_one_of(4, monkeypatch)
    with pytest.raises(RunError, match=r"of which this device, of 4, has 1 .*\n.*--devices 2\n"):
        take_step(made, Progress(), next(load_each(made.data.train, made.batches.keys(0), 0)))
