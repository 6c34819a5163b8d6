"""Parameters and multiply-adds against the tables that torchvision publishes with its weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models import get_model_weights

from harbench.models.find import build_model
from harbench.models.profile import count_flops, count_parameters
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
    ],
)
def test_published_counts(name: str, classes: int, shape: tuple[int, ...]) -> None:
    with torch.device("meta"):
        model = build_model(ModelConfig(name=name), classes)
    published = next(iter(get_model_weights(name))).meta
    assert count_parameters(model) == published["num_params"]
    assert count_flops(model, shape) / 1e9 == pytest.approx(published["_ops"], abs=1e-3)


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
