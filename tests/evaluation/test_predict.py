"""Views accumulate to the same scores however they are batched and loaded; failures are told, modes restored."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from harbench.errors import MediaError
from harbench.evaluation import predict as module
from harbench.evaluation.metrics import score
from harbench.evaluation.predict import predict
from harbench.frames.clips import ClipDataset
from harbench.recipe import EvalConfig, InputConfig
from harbench.records import ClassLabel, MediaInfo, Predictions, Sample

T = TypeVar("T")
VIEWS = EvalConfig(clips=2, crops=3, batch_size=4)
INPUT = InputConfig.model_validate({"clip": {"dense": {"num_frames": 4, "stride": 2}}, "size": 8})


@dataclass(frozen=True)
class NoiseCache:
    """Videos of noise by their number; those in `broken` cannot be read."""

    broken: tuple[str, ...] = ()

    def __contains__(self, media: object) -> bool:
        return True

    def info(self, media: str) -> MediaInfo:
        return MediaInfo(20, 25.0, 24, 16)

    def read(self, media: str, indices: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        if media in self.broken:
            raise MediaError(f"{media}: cut off")
        rng = np.random.default_rng(int(media))
        return rng.integers(0, 256, (20, 16, 24, 3), np.uint8)[indices]


class Small(nn.Module):
    """A convolution, normalized and with dropout, so that the mode matters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, 4, 3)
        self.norm = nn.BatchNorm3d(4)
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 5))
        self.norm.eval()

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.norm(self.conv(clips)).mean(dim=(2, 3, 4)))
        return logits


@pytest.fixture(scope="module")
def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Small()


def dataset(
    number: int = 5, broken: tuple[str, ...] = (), views: EvalConfig = VIEWS, train: bool = False
) -> ClipDataset:
    rows = [Sample(f"s/{n}", n % 5, "", "test", str(n)) for n in range(number)]
    return ClipDataset(rows, NoiseCache(broken), INPUT, seed=0, views=None if train else views)


def scale(frames: torch.Tensor) -> torch.Tensor:
    return frames / 255


def scores(model: nn.Module, data: ClipDataset, batch_size: int = 4, **options: Any) -> Predictions:
    config = data.eval.model_copy(update={"batch_size": batch_size})
    data.eval = config
    return predict(model, data, device="cpu", normalize=scale, **options)


def test_scores_are_means_over_the_views_of_each_sample(model: nn.Module) -> None:
    data = dataset()
    found = scores(model, data)
    assert found.ids == ("s/0", "s/1", "s/2", "s/3", "s/4")
    assert found.targets.tolist() == [0, 1, 2, 3, 4]
    assert found.failed == {}
    model.eval()
    for row in range(5):
        clips = torch.stack([data[0, row, row, view].frames for view in range(6)])
        with torch.no_grad():
            logits = model(scale(clips))
        np.testing.assert_allclose(found.logits[row], logits.mean(dim=0), atol=1e-5)
        np.testing.assert_allclose(found.probabilities[row], logits.softmax(dim=1).mean(dim=0), atol=1e-5)
        assert found.views is not None
        np.testing.assert_allclose(found.views[row], logits, atol=2e-3)


@pytest.mark.parametrize(("amp", "dtype"), [("off", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_reduced_precision_is_that_of_eval_amp(model: nn.Module, amp: str, dtype: torch.dtype) -> None:
    views = VIEWS.model_copy(update={"amp": amp})
    seen: list[torch.dtype] = []
    hook = model.head.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    found = predict(model, dataset(views=views), device="cpu", normalize=scale)
    hook.remove()
    assert set(seen) == {dtype}
    np.testing.assert_allclose(found.logits, scores(model, dataset()).logits, atol=0.02)


def test_batch_size_and_workers_do_not_matter(model: nn.Module) -> None:
    data = dataset(broken=("3",))
    expected = scores(model, data, batch_size=4)
    again = scores(model, data, batch_size=4, workers=2)
    np.testing.assert_array_equal(again.logits, expected.logits)
    np.testing.assert_array_equal(again.probabilities, expected.probabilities)
    np.testing.assert_array_equal(again.views, expected.views)  # type: ignore[arg-type]
    assert again.failed == expected.failed
    for batch_size in (1, 5, 30):
        np.testing.assert_allclose(scores(model, data, batch_size).logits, expected.logits, atol=1e-5)


def test_a_sample_that_cannot_be_read_has_no_score_and_is_wrong(
    model: nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    found = scores(model, dataset(broken=("1", "4")))
    assert found.failed == {"s/1": "1: cut off", "s/4": "4: cut off"}
    assert found.views is not None
    for values in (found.logits, found.probabilities, found.views.reshape(5, -1)):
        np.testing.assert_array_equal(np.isnan(values).all(axis=1), [False, True, False, False, True])
        np.testing.assert_array_equal(np.isnan(values).any(axis=1), [False, True, False, False, True])
    assert "2 of 5 samples have no score and count as wrong, first s/1" in caplog.text
    metrics = score(found, [ClassLabel(key, key) for key in "abcde"])
    assert (metrics.samples, metrics.scored) == (5, 3)
    assert metrics.per_class["b"]["recall"] == metrics.per_class["b"]["ap"] == 0


def test_an_output_that_is_not_finite_is_no_score() -> None:
    data = dataset(3)
    one_view = data[0, 1, 1, 1].frames[0, :, 0, 0] / 255

    class Diverged(nn.Module):
        def forward(self, clips: torch.Tensor) -> torch.Tensor:
            logits = torch.ones(len(clips), 3)
            logits[(clips[:, 0, :, 0, 0] == one_view).all(dim=1), 1] = torch.nan
            return logits

    found = scores(Diverged(), data)
    assert found.failed == {"s/1": "the model's output is not finite"}
    assert np.isnan(found.logits).any(axis=1).tolist() == [False, True, False]


def test_modes_are_restored_module_by_module_even_after_an_error(model: nn.Module) -> None:
    model.train()
    model.norm.eval()  # a frozen normalization in a model that trains
    scores(model, dataset())
    assert (model.training, model.norm.training, model.head[0].training) == (True, False, True)  # type: ignore[index,union-attr]
    with pytest.raises(RuntimeError):
        predict(model, dataset(), device="cpu", normalize=lambda frames: scale(frames)[:, :1])
    assert (model.training, model.norm.training) == (True, False)


def test_nothing_scored_is_an_error(model: nn.Module) -> None:
    with pytest.raises(MediaError, match="not one of 2 samples could be scored; the first: s/0: 0: cut off"):
        scores(model, dataset(2, broken=("0", "1")))
    with pytest.raises(MediaError, match="no samples"):
        scores(model, dataset(0))


def test_views_are_kept_only_when_small(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = scores(model, dataset())
    assert kept.views is not None
    assert (kept.views.dtype, kept.views.shape) == (np.float16, (5, 6, 5))
    monkeypatch.setattr(module, "VIEWS_LIMIT", kept.views.nbytes)
    assert scores(model, dataset()).views is None


def test_views_of_a_model_that_diverged_stay_within_float16(model: nn.Module) -> None:
    far = nn.Sequential(model, Times(1e8))
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        found = scores(far, dataset())
    assert found.views is not None and np.isfinite(found.views).all()
    assert abs(found.views).max() == np.finfo(np.float16).max < abs(found.logits).max()
    assert found.failed == {}


class Times(nn.Module):
    """Logits times a number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return logits * self.factor


def test_progress_counts_batches(model: nn.Module) -> None:
    seen: list[Any] = []

    def track(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
        seen.extend([what, total])
        for item in items:
            seen.append(len(item.rows))  # type: ignore[attr-defined]
            yield item

    scores(model, dataset(), track=track)
    assert seen == ["evaluating", 8, 4, 4, 4, 4, 4, 4, 4, 2]


def test_data_for_training_is_refused(model: nn.Module) -> None:
    with pytest.raises(ValueError, match="made for training"):
        predict(model, dataset(train=True), device="cpu", normalize=scale)
