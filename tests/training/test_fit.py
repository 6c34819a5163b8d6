"""The fit loop on a data set made of noise: exact repetition, resume, and what a user reads when it cannot go on."""

from __future__ import annotations

import csv
import logging
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from harbench.errors import RunError
from harbench.frames.clips import ClipDataset
from harbench.recipe import EvalConfig, InputConfig, TrainConfig
from harbench.records import EpochStats, MediaInfo, Sample
from harbench.training.checkpoint import INEXACT, STATE
from harbench.training.fit import chosen_epochs, fit, stopped_early
from harbench.training.setup import TrainData

CPU = torch.device("cpu")
Weights = dict[str, torch.Tensor]


class NoiseCache:
    """Videos of 6 frames of 8x8 whose brightness is their class."""

    def __contains__(self, media: object) -> bool:
        return True

    def info(self, media: str) -> MediaInfo:
        return MediaInfo(frames=6, fps=25.0, width=8, height=8)

    def read(self, media: str, indices: np.ndarray) -> np.ndarray:
        number = int(media.removesuffix(".avi"))
        noise = np.random.default_rng(number).integers(0, 120, (6, 8, 8, 3))
        return (noise + 60 * (number % 3)).astype(np.uint8)[indices]


def dataset(samples: int, seed: int = 0, *, train: bool = True, first: int = 0) -> ClipDataset:
    rows = [Sample(f"s/{i}", i % 3, "", "train" if train else "val", f"{i}.avi") for i in range(first, first + samples)]
    config = InputConfig.model_validate({"clip": {"dense": {"num_frames": 4, "stride": 1}}, "size": 8, "resize": 8})
    return ClipDataset(rows, NoiseCache(), config, seed=seed, views=None if train else EvalConfig())


class Tiny(nn.Module):
    """Batch norm, dropout, and a place to interfere at a given forward pass."""

    def __init__(self, at: int = 0, event: Callable[[], None] | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten())
        self.head = nn.Linear(4 * 2 * 6 * 6, 3)
        self.at, self.event, self.calls = at, event, 0

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        features = self.net(frames)
        self.calls += self.training
        if self.event is not None and self.calls == self.at and self.training:
            self.event()
        return self.head(features)


def config(**changes: object) -> TrainConfig:
    basic = {"epochs": 3, "batch_size": 4, "workers": 0, "optimizer": {"lr": 0.02}, "schedule": {"warmup_epochs": 1}}
    return TrainConfig.model_validate(basic | changes)


def normalize(frames: torch.Tensor) -> torch.Tensor:
    return frames.float() / 255 - 0.5


def train(
    folder: Path,
    settings: TrainConfig | None = None,
    *,
    model: nn.Module | None = None,
    samples: int = 18,
    seed: int = 0,
    val: ClipDataset | None = None,
) -> tuple[Weights, list[EpochStats]]:
    model = model or Tiny()
    data = TrainData(dataset(samples, seed), val, normalize)
    stats = fit(model, data, settings or config(), device=CPU, seed=seed, run_dir=folder)
    return model.state_dict(), stats


def same(a: Weights, b: Weights) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def without_time(stats: list[EpochStats]) -> list[tuple[object, ...]]:
    return [(s.epoch, s.lr, s.train_loss, s.train_top1, s.val_loss, s.val_top1) for s in stats]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Weights, list[EpochStats]]:
    torch.set_num_threads(1)
    return train(tmp_path_factory.mktemp("undisturbed"))


def test_it_learns_and_writes_its_files(tmp_path: Path) -> None:
    before = {key: value.clone() for key, value in Tiny().state_dict().items()}
    weights, stats = train(tmp_path, config(epochs=6, optimizer={"name": "adamw", "lr": 0.01, "decay_norms": False}))
    assert not same(before, weights)
    assert stats[-1].train_loss < stats[0].train_loss
    assert [line.epoch for line in stats] == [1, 2, 3, 4, 5, 6]
    assert all(line.val_top1 is None and line.samples_per_second > 0 for line in stats)
    with open(tmp_path / "train.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [float(row["train_loss"]) for row in rows] == [line.train_loss for line in stats]
    assert rows[0]["val_top1"] == ""
    assert not (tmp_path / INEXACT).exists()


def test_global_settings_are_left_as_they_were(tmp_path: Path) -> None:
    model = Tiny()
    draw, handler = torch.get_rng_state(), signal.getsignal(signal.SIGINT)
    train(tmp_path, config(epochs=1), model=model)
    assert torch.equal(torch.get_rng_state(), draw)
    assert not torch.are_deterministic_algorithms_enabled()
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.parametrize("changes", [{"workers": 2}, {"workers": 1, "checkpoint_minutes": 1e-9}])
def test_workers_and_checkpoints_change_no_bit(
    tmp_path: Path, undisturbed: tuple[Weights, list[EpochStats]], changes: dict[str, object]
) -> None:
    weights, stats = train(tmp_path, config(**changes))
    assert same(weights, undisturbed[0])
    assert without_time(stats) == without_time(undisturbed[1])


def test_another_seed_is_another_training(tmp_path: Path, undisturbed: tuple[Weights, list[EpochStats]]) -> None:
    assert not same(train(tmp_path, seed=1)[0], undisturbed[0])


# 18 samples in batches of 4 are 5 steps an epoch, 15 in all
@pytest.mark.parametrize("step", [1, 2, 5, 6, 10, 14, 15])
def test_ctrl_c_finishes_the_step_and_resumes_to_the_bit(
    tmp_path: Path, undisturbed: tuple[Weights, list[EpochStats]], step: int
) -> None:
    interrupted = Tiny(at=step, event=lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, config(workers=step % 2), model=interrupted)
    assert torch.load(tmp_path / STATE, weights_only=True)["progress"]["step"] == step
    later = Tiny()
    weights, stats = train(tmp_path, model=later)
    assert later.calls == 15 - step
    assert same(weights, undisturbed[0])
    assert without_time(stats) == without_time(undisturbed[1])
    assert not (tmp_path / INEXACT).exists()


def test_ctrl_c_while_val_is_scored_resumes_to_the_bit(
    tmp_path: Path, undisturbed: tuple[Weights, list[EpochStats]]
) -> None:
    class Stopped(Tiny):
        def forward(self, frames: torch.Tensor) -> torch.Tensor:
            if not self.training:
                raise KeyboardInterrupt
            return super().forward(frames)

    val = dataset(5, train=False, first=100)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, model=Stopped(), val=val)
    weights, stats = train(tmp_path, val=val)
    assert same(weights, undisturbed[0])
    assert [line.train_loss for line in stats] == [line.train_loss for line in undisturbed[1]]
    assert all(line.val_loss is not None and line.val_top1 in {0, 20, 40, 60, 80, 100} for line in stats)


@pytest.mark.parametrize("step", [1, 4, 7])
def test_a_failure_amid_a_step_loses_only_what_came_after_the_last_state(
    tmp_path: Path, undisturbed: tuple[Weights, list[EpochStats]], step: int
) -> None:
    def fail() -> None:
        raise MemoryError("pulled the plug")

    with pytest.raises(MemoryError):
        train(tmp_path, model=Tiny(at=step, event=fail))
    weights, stats = train(tmp_path)
    assert same(weights, undisturbed[0])
    assert without_time(stats) == without_time(undisturbed[1])


def test_sigkill_amid_an_epoch_resumes_to_the_bit(
    tmp_path: Path, undisturbed: tuple[Weights, list[EpochStats]]
) -> None:
    killed = Tiny(at=8, event=lambda: os.kill(os.getpid(), signal.SIGKILL))
    settings = config(checkpoint_minutes=1e-9, workers=1)
    process = multiprocessing.get_context("fork").Process(
        target=train, args=(tmp_path, settings), kwargs={"model": killed}
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert torch.load(tmp_path / STATE, weights_only=True)["progress"]["step"] == 7
    weights, stats = train(tmp_path, config(workers=2))
    assert same(weights, undisturbed[0])
    assert without_time(stats) == without_time(undisturbed[1])


def test_a_finished_training_is_a_no_op(tmp_path: Path, undisturbed: tuple[Weights, list[EpochStats]]) -> None:
    _, stats = train(tmp_path)
    again = Tiny()
    weights, repeated = train(tmp_path, model=again)
    assert again.calls == 0
    assert repeated == stats
    assert same(weights, undisturbed[0])


def test_no_epochs_leaves_the_weights_alone(tmp_path: Path) -> None:
    weights, stats = train(tmp_path, config(epochs=0))
    assert stats == []
    assert same(weights, Tiny().state_dict())


class Plain(nn.Module):
    """No batch statistics, no dropout: here the parts of a batch must add up to the batch."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(3 * 4 * 8 * 8, 3)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return self.head(frames.flatten(1))


@pytest.mark.parametrize("micro", [1, 2, 3])
def test_micro_batches_add_up_to_the_batch(tmp_path: Path, micro: int) -> None:
    clipped = {"clip_grad": 0.5, "label_smoothing": 0.1}
    whole, stats = train(tmp_path / "whole", config(**clipped), model=Plain())
    parts, same_stats = train(tmp_path / "parts", config(micro_batch=micro, **clipped), model=Plain())
    torch.testing.assert_close(whole, parts, atol=1e-5, rtol=1e-4)
    assert stats[-1].train_loss == pytest.approx(same_stats[-1].train_loss, rel=1e-4)


def test_steps_match_a_plain_torch_loop(tmp_path: Path) -> None:
    """An independent reference for loss, accumulation, optimizer, schedule and sample order."""
    from harbench.frames.clips import training_keys

    weights, _ = train(tmp_path, config(label_smoothing=0.1, clip_grad=1.0), model=Plain())
    model, clips = Plain(), dataset(18)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-4)
    warmup = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (step + 1) / 5)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    for epoch in range(3):
        keys = training_keys(18, epoch, 0)
        for start in range(0, 18, 4):
            batch = [clips[tuple(key)] for key in keys[start : start + 4].tolist()]
            loss = criterion(
                model(normalize(torch.stack([clip.frames for clip in batch]))),
                torch.tensor([clip.target for clip in batch]),
            )
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            if epoch == 0 and start == 16:
                optimizer.param_groups[0]["lr"] = 0.02
            else:
                (warmup if epoch == 0 else cosine).step()
    torch.testing.assert_close(weights, model.state_dict(), atol=1e-5, rtol=1e-4)


def test_one_sample_left_over_joins_the_batch_before(tmp_path: Path) -> None:
    sizes = []

    class Watching(Tiny):
        def forward(self, frames: torch.Tensor) -> torch.Tensor:
            sizes.append(len(frames))
            return super().forward(frames)

    train(tmp_path, config(epochs=2), model=Watching(), samples=9)
    assert sizes == [4, 5, 4, 5]


def test_a_left_over_sample_resumes_to_the_bit(tmp_path: Path) -> None:
    expected, _ = train(tmp_path / "whole", samples=9)
    stop = Tiny(at=3, event=lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", model=stop, samples=9)
    assert same(train(tmp_path / "stopped", samples=9)[0], expected)


def test_selection_takes_the_best_epoch_on_val(tmp_path: Path) -> None:
    val = dataset(12, train=False, first=100)
    settings = config(epochs=5, selection="val", optimizer={"lr": 0.05})
    weights, stats = train(tmp_path / "a", settings, val=val)
    best = chosen_epochs(stats)
    scores = [line.val_top1 or 0.0 for line in stats]
    assert scores[best - 1] == max(scores)
    assert max(scores) not in scores[: best - 1]
    # the schedule of the reference is that of 5 epochs, stopped after the best one
    stop = Tiny(at=5 * best, event=lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "b", settings, model=stop, val=val)
    assert same(weights, stop.state_dict())
    assert same(train(tmp_path / "b", settings, val=val)[0], weights)


def test_selection_without_val_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"data\.validation"):
        train(tmp_path, config(selection="val"))


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_reduced_precision_resumes_to_the_bit(tmp_path: Path, amp: str) -> None:
    expected, _ = train(tmp_path / "whole", config(amp=amp, clip_grad=1.0))
    stop = Tiny(at=7, event=lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", config(amp=amp, clip_grad=1.0), model=stop)
    assert same(train(tmp_path / "stopped", config(amp=amp, clip_grad=1.0))[0], expected)


def test_a_loss_that_is_not_finite_names_samples_and_ways_out(tmp_path: Path) -> None:
    model = Tiny(at=7)
    model.event = lambda: model.head.weight.data.fill_(float("nan"))
    with pytest.raises(RunError) as caught:
        train(tmp_path, model=model)
    text = str(caught.value)
    assert "nan at step 6 (epoch 2)" in text
    assert "s/" in text
    assert "--set train.optimizer.lr=0.002" in text
    assert "--set train.clip_grad=1.0" in text
    assert "train.amp" not in text


def test_out_of_memory_names_the_smaller_part(tmp_path: Path) -> None:
    def full() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    with pytest.raises(RunError, match=r"--set train\.micro_batch=2 "):
        train(tmp_path, model=Tiny(at=2, event=full))


def test_another_training_is_not_resumed(tmp_path: Path) -> None:
    train(tmp_path, config(epochs=1))
    with pytest.raises(RunError, match="epochs, label_smoothing differ"):
        train(tmp_path, config(epochs=2, label_smoothing=0.2))
    with pytest.raises(RunError, match="samples, seed differ"):
        train(tmp_path, config(epochs=1), samples=17, seed=3)
    train(tmp_path, config(epochs=1, workers=1, checkpoint_minutes=3))


@pytest.mark.parametrize("keep", [0, 100, 5000])
def test_a_damaged_state_is_told(tmp_path: Path, keep: int) -> None:
    train(tmp_path, config(epochs=1))
    path = tmp_path / STATE
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RunError, match="is damaged"):
        train(tmp_path, config(epochs=1))


def test_going_on_with_other_threads_is_written_down(tmp_path: Path) -> None:
    stop = Tiny(at=3, event=lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, model=stop)
    torch.set_num_threads(2)
    train(tmp_path)
    assert (tmp_path / INEXACT).read_text() == "went on with threads 2 after 1\n"


def test_an_inexact_kernel_is_written_down(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import warnings

    words = "some_backward does not have a deterministic implementation, but you set warn_only=True."
    with caplog.at_level(logging.WARNING):
        train(tmp_path, model=Tiny(at=2, event=lambda: warnings.warn(words, UserWarning, stacklevel=1)))
    assert (tmp_path / INEXACT).read_text() == f"{words}\n"
    assert "not exact" in caplog.text


ENGINE = {
    "mixed": {"mixup": 0.4, "cutmix": 1.0, "label_smoothing": 0.1, "micro_batch": 2},
    "averaged": {"ema": 0.9, "bn": "frozen", "channels_last": True},
    "layers": {"optimizer": {"name": "adam", "lr": 0.01, "layer_decay": 0.5}, "schedule": {"warmup_epochs": 1}},
    "frozen": {"freeze": ["net.0"], "clips_per_epoch": 2},
    "step": {"schedule": {"name": "step", "milestones": [1, 2]}, "optimizer": {"lr_scale": {"net": 0.1}}},
}


@pytest.mark.parametrize("changes", ENGINE.values(), ids=ENGINE)
def test_every_option_resumes_to_the_bit(tmp_path: Path, changes: dict[str, object]) -> None:
    settings = config(**{"schedule": {}} | changes)
    expected, stats = train(tmp_path / "whole", settings)
    stop = Tiny(at=8, event=lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", settings, model=stop)
    weights, again = train(tmp_path / "stopped", settings)
    assert same(weights, expected)
    assert without_time(again) == without_time(stats)
    assert not same(expected, train(tmp_path / "plain", config(schedule={}))[0])


def test_a_plateau_resumes_to_the_bit_and_lowers_the_rate(tmp_path: Path) -> None:
    val = dataset(9, train=False, first=100)
    settings = config(epochs=5, schedule={"name": "plateau", "patience": 1}, optimizer={"lr": 1e-6})
    expected, stats = train(tmp_path / "whole", settings, val=val)
    assert stats[-1].lr < stats[0].lr == 1e-6
    stop = Tiny(at=18, event=lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", settings, model=stop, val=val)
    assert same(train(tmp_path / "stopped", settings, val=val)[0], expected)


def test_a_plateau_of_the_training_loss_needs_no_val(tmp_path: Path) -> None:
    schedule = {"name": "plateau", "watch": "train", "patience": 1}
    stats = train(tmp_path / "a", config(epochs=5, schedule=schedule, optimizer={"lr": 1e-9}))[1]
    assert stats[-1].lr < stats[0].lr == 1e-9


def test_mixed_micro_batches_add_up_to_the_batch(tmp_path: Path) -> None:
    mixed = {"mixup": 0.5, "cutmix": 0.5, "batch_size": 6}
    whole, stats = train(tmp_path / "whole", config(**mixed), model=Plain())
    parts, same_stats = train(tmp_path / "parts", config(micro_batch=3, **mixed), model=Plain())
    torch.testing.assert_close(whole, parts, atol=1e-5, rtol=1e-4)
    assert stats[-1].train_top1 == same_stats[-1].train_top1


def test_what_is_frozen_stays(tmp_path: Path) -> None:
    before = Tiny().state_dict()
    frozen, _ = train(tmp_path / "a", config(freeze=["net"]))
    assert all(torch.equal(frozen[name], before[name]) for name in before if name.startswith("net"))
    assert not torch.equal(frozen["head.weight"], before["head.weight"])
    statistics, _ = train(tmp_path / "c", config(bn="frozen"))
    assert torch.equal(statistics["net.1.running_mean"], before["net.1.running_mean"])
    assert not torch.equal(statistics["net.1.weight"], before["net.1.weight"])
    with pytest.raises(RunError, match="begins with 'bakbone'; this model's begin with net, head"):
        train(tmp_path / "d", config(freeze=["bakbone"]))


def test_the_average_is_torchs(tmp_path: Path) -> None:
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    reference: list[AveragedModel] = []

    class Watching(Plain):
        """Sees the weights after each step, at the forward pass of the next one."""

        def forward(self, frames: torch.Tensor) -> torch.Tensor:
            if reference and self.training:
                reference[0].update_parameters(self)
            elif self.training:
                reference.append(AveragedModel(self, multi_avg_fn=get_ema_multi_avg_fn(0.8)))
                reference[0].n_averaged += 1
            return super().forward(frames)

    settings = config(epochs=2, ema=0.8)
    weights, _ = train(tmp_path / "a", settings, model=Watching())
    final, _ = train(tmp_path / "b", config(epochs=2), model=Plain())
    last = Plain()
    last.load_state_dict(final)
    reference[0].update_parameters(last)
    torch.testing.assert_close(weights["head.weight"], reference[0].module.head.weight.data)


def test_validation_every_n_epochs_and_early_stopping(tmp_path: Path) -> None:
    val = dataset(6, train=False, first=100)
    _, stats = train(tmp_path / "a", config(epochs=5, val_every=2), val=val)
    assert [line.val_top1 is not None for line in stats] == [False, True, False, True, True]
    settings = config(epochs=30, early_stopping=2, optimizer={"lr": 1e-6})
    _, stopped = train(tmp_path / "b", settings, val=val)
    assert len(stopped) < 30
    assert stopped_early(stopped, 2) and not stopped_early(stopped[:-1], 2)
    again = Tiny()
    train(tmp_path / "b", settings, model=again, val=val)
    assert again.calls == 0


def test_a_full_disk_keeps_the_last_good_state(tmp_path: Path, undisturbed: tuple[Weights, list[EpochStats]]) -> None:
    """A file that may not grow fails amid a write, as on a full disk."""
    stop = Tiny(at=7, event=lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, model=stop)
    good, limits = (tmp_path / STATE).read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(good) // 2, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as told:
            train(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert told.value.filename == str(tmp_path / STATE)
    assert (tmp_path / STATE).read_bytes() == good
    assert not list(tmp_path.glob(".*.part"))
    assert same(train(tmp_path)[0], undisturbed[0])


def test_memory_of_the_cpu_runs_out_in_words_too(tmp_path: Path) -> None:
    def full() -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried")

    with pytest.raises(RunError, match=r"--set train\.micro_batch=2 "):
        train(tmp_path / "a", model=Tiny(at=2, event=full))
    with pytest.raises(RunError, match="That is the minimum"):
        train(tmp_path / "b", config(micro_batch=1), model=Plainly(full))


class Plainly(Plain):
    """Fails at once."""

    def __init__(self, event: Callable[[], None]) -> None:
        super().__init__()
        self.event = event

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        self.event()
        return super().forward(frames)


def test_stopped_early_in_the_schedule_it_is_the_same_training(tmp_path: Path) -> None:
    """`refit` trains the chosen number of epochs on the schedule that was in effect when they were chosen."""
    whole = train(tmp_path / "whole", config(epochs=6))[1]
    weights, stats = train(tmp_path / "a", config(epochs=6, stop_epoch=2))
    assert without_time(stats) == without_time(whole[:2])
    assert not same(weights, train(tmp_path / "b", config(epochs=2))[0])


def test_fast_kernels_are_recorded_as_not_exact(tmp_path: Path) -> None:
    switched: list[bool] = []
    model = Tiny(at=1, event=lambda: switched.append(torch.are_deterministic_algorithms_enabled()))
    train(tmp_path, config(epochs=1, deterministic=False), model=model)
    assert switched == [False]
    assert "train.deterministic: false" in (tmp_path / INEXACT).read_text()
