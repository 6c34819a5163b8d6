"""Parameters and multiply-adds against the tables that torchvision publishes with its weights."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn
from torchvision.models import get_model_weights

from harbench.models.build import build_model
from harbench.models.profile import count_flops, count_parameters, latency
from harbench.recipe import ModelConfig


@pytest.mark.parametrize(
    ("name", "classes", "shape"),
    [
        ("r3d_18", 400, (3, 16, 112, 112)),
        ("mc3_18", 400, (3, 16, 112, 112)),
        ("r2plus1d_18", 400, (3, 16, 112, 112)),
        ("resnet18", 1000, (3, 1, 224, 224)),
        ("resnet34", 1000, (3, 1, 224, 224)),
        ("resnet50", 1000, (3, 1, 224, 224)),
        ("mobilenet_v3_large", 1000, (3, 1, 224, 224)),
        ("s3d", 400, (3, 16, 224, 224)),
        ("mvit_v2_s", 400, (3, 16, 224, 224)),
        ("swin3d_t", 400, (3, 16, 224, 224)),
    ],
)
def test_published_counts(name: str, classes: int, shape: tuple[int, ...]) -> None:
    with torch.device("meta"):
        model = build_model(ModelConfig(name=name), classes)
    published = next(iter(get_model_weights(name))).meta
    assert count_parameters(model) == published["num_params"]
    assert count_flops(model, shape) / 1e9 == pytest.approx(published["_ops"], abs=1e-3)


@pytest.mark.parametrize(
    ("name", "args", "classes", "shape", "millions", "gflops"),
    [
        ("slowfast_r50", {"alpha": 4}, 400, (3, 32, 256, 256), 34.57, 65.71),  # PyTorchVideo's model zoo, 8x8
        ("slowfast_r50", {"alpha": 8}, 400, (3, 32, 256, 256), 34.48, 36.1),  # the paper's table 2, 4x16
        ("slow_r50", {}, 400, (3, 8, 256, 256), 32.45, 54.52),  # PyTorchVideo's model zoo, 8x8
        ("x3d", {}, 400, (3, 13, 160, 160), 3.794, 1.96),  # PyTorchVideo's model zoo, S
        ("x3d", {}, 400, (3, 16, 224, 224), 3.794, 4.73),  # PyTorchVideo's model zoo, M
        ("poseconv3d", {}, 60, (3, 48, 17, 2), 2.02, None),  # the paper: 2.0
        ("c3d", {}, 101, (3, 16, 112, 112), 78.41, 38.5),  # mmaction2's model zoo
        ("tsm", {}, 400, (3, 8, 224, 224), 24.3, 33.0),  # the paper's table 2
        ("ddnet", {"joints": 22, "channels": 3}, 14, (3, 32, 22, 1), 1.82, None),  # the paper's table 3, SHREC
        ("stgcn", {}, 60, (3, 100, 25, 2), 3.1, None),  # the authors' repository
        ("ctrgcn", {"joints": 20, "bodies": 1}, 10, (3, 52, 20, 1), 1.427, None),  # the authors' code
        ("ctrgcn", {}, 60, (3, 64, 25, 2), 1.446, None),  # the paper: 1.46
        ("resnet_lstm", {}, 101, (3, 16, 112, 112), 12.0, None),  # the origin project
        ("small_cnn_lstm", {}, 101, (3, 16, 112, 112), 25.8, None),  # the origin project
    ],
)
def test_counts_of_papers(
    name: str, args: dict[str, int], classes: int, shape: tuple[int, ...], millions: float, gflops: float | None
) -> None:
    with torch.device("meta"):
        model = build_model(ModelConfig(name=name, args=args), classes)
    assert count_parameters(model) / 1e6 == pytest.approx(millions, abs=0.05 if millions > 3 else 0.005)
    if gflops is not None:
        assert count_flops(model, shape) / 1e9 == pytest.approx(gflops, rel=0.01)


def test_stgcnpp_without_its_head_has_the_size_that_pyskl_states() -> None:
    with torch.device("meta"):
        model = build_model(ModelConfig(name="stgcnpp"), 60)
    assert (count_parameters(model) - 60 * 257) / 1e6 == pytest.approx(1.39, abs=0.005)


def test_a_recurrent_network_by_hand() -> None:
    lstm = nn.LSTM(8, 16, batch_first=True)
    assert count_flops(lstm, (5, 8)) == 5 * 4 * 16 * (8 + 16)


def test_a_model_that_looks_at_values_is_counted_on_the_cpu() -> None:
    class Looks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return self.layer(values * values.sum().item())

    model = Looks()
    assert count_flops(model, (4,)) == 12
    assert model.training
    assert model.layer.weight.device.type == "cpu"


def test_latency_is_the_time_of_one_view_on_the_models_device() -> None:
    class Slow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)
            self.shapes: list[tuple[int, ...]] = []

        def forward(self, values: torch.Tensor) -> torch.Tensor:
            assert not self.training and torch.is_inference_mode_enabled()
            self.shapes.append(tuple(values.shape))
            time.sleep(0.2 if len(self.shapes) == 1 else 0.02)
            return self.layer(values)

    model = Slow().train()
    milliseconds, where = latency(model, (5, 4))
    assert 20 <= milliseconds < 200, "the first pass is not counted"
    assert where.startswith("CPU, ")
    assert model.shapes == [(1, 5, 4)] * 10
    assert model.training
