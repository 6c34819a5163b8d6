"""Two gloo processes against one: the same training to float tolerance, the same scores, no view twice."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn

from harbench.evaluation import distributed
from harbench.evaluation.predict import predict
from harbench.frames.clips import ClipDataset
from harbench.recipe import EvalConfig, InputConfig, TrainConfig
from harbench.records import MediaInfo, Predictions, Sample
from harbench.training.fit import fit
from harbench.training.setup import TrainData

CPU = torch.device("cpu")


class Noise:
    """Videos of 6 frames of 8x8 whose brightness is their class."""

    def __contains__(self, media: object) -> bool:
        return True

    def info(self, media: str) -> MediaInfo:
        return MediaInfo(frames=6, fps=25.0, width=8, height=8)

    def read(self, media: str, indices: np.ndarray) -> np.ndarray:
        number = int(media)
        noise = np.random.default_rng(number).integers(0, 120, (6, 8, 8, 3))
        return (noise + 60 * (number % 3)).astype(np.uint8)[indices]


def clips(count: int, views: EvalConfig | None) -> ClipDataset:
    rows = [Sample(f"s/{i}", i % 3, "", "train", str(i)) for i in range(count)]
    config = InputConfig.model_validate({"clip": {"dense": {"num_frames": 4, "stride": 1}}, "size": 8, "resize": 8})
    return ClipDataset(rows, Noise(), config, seed=0, views=views)


def scale(frames: torch.Tensor) -> torch.Tensor:
    return frames.float() / 255 - 0.5


def work(folder: Path, changes: dict[str, object]) -> tuple[dict[str, np.ndarray], list[float], Predictions]:
    """20 steps on 33 samples, then 3 views of 5 samples in batches of 4."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 8 * 8, 16), nn.Tanh(), nn.Linear(16, 3))
    settings = {"epochs": 4, "batch_size": 7, "workers": 0, "optimizer": {"lr": 0.05}, "clip_grad": 1.0}
    config = TrainConfig.model_validate(settings | changes)
    stats = fit(model, TrainData(clips(33, None), None, scale), config, device=CPU, seed=0, run_dir=folder)
    views = EvalConfig(clips=3, batch_size=4)
    predictions = predict(model, clips(5, views), device=CPU, normalize=scale)
    weights = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    return weights, [line.train_loss for line in stats], predictions


def join(rank: int, folder: Path, changes: dict[str, object], results: multiprocessing.Queue) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    try:
        results.put((rank, *work(folder, changes)))
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("changes", [{}, {"mixup": 0.5, "cutmix": 1.0, "micro_batch": 2, "ema": 0.9}], ids=str)
def test_two_ranks_are_one(tmp_path: Path, changes: dict[str, object]) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [context.Process(target=join, args=(rank, tmp_path / "two", changes, results)) for rank in range(2)]
    for process in processes:
        process.start()
    found = {rank: rest for rank, *rest in (results.get(timeout=120) for _ in processes)}
    for process in processes:
        process.join()
    weights, losses, predictions = work(tmp_path / "one", changes)
    for other_weights, other_losses, other in found.values():
        for name in weights:
            np.testing.assert_allclose(other_weights[name], weights[name], atol=2e-5, rtol=1e-4)
        assert other_losses == pytest.approx(losses, rel=1e-5)
        np.testing.assert_allclose(other.logits, predictions.logits, atol=1e-4)
        np.testing.assert_allclose(other.views, predictions.views, atol=1e-2)
        assert (other.probabilities.argmax(1) == predictions.probabilities.argmax(1)).all()
        assert other.probabilities.sum(1) == pytest.approx(np.ones(5), abs=1e-5)
    assert all(np.array_equal(found[0][0][name], found[1][0][name]) for name in weights)


def test_alone_there_is_one_rank() -> None:
    assert (distributed.rank(), distributed.size(), distributed.all_reduce_max(4)) == (0, 1, 4)
    assert distributed.gather_dict({1: "a"}) == {1: "a"}
