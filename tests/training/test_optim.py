from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from harbench.models.find import find_model
from harbench.recipe import OptimizerConfig, ScheduleConfig
from harbench.training.optim import build_optimizer, build_scheduler, layers, rate_scales, under


def rates(scale: float = 1.0, epochs: int = 5, **schedule: object) -> list[float]:
    """The rate of each of `epochs` x 10 steps, with a base rate of 0.1."""
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([{"params": [parameter], "lr": 0.1 * scale}], lr=0.1)
    scheduler = build_scheduler(optimizer, ScheduleConfig.model_validate(schedule), 10, epochs)
    found = []
    for _ in range(10 * epochs):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_schedules_by_hand() -> None:
    cosine = rates()
    assert (cosine[0], cosine[25]) == (0.1, pytest.approx(0.05))
    assert cosine[-1] == pytest.approx(0.1 * (1 + math.cos(math.pi * 49 / 50)) / 2)
    assert rates(final=0.2)[-1] == pytest.approx(0.02 + 0.08 * (1 + math.cos(math.pi * 49 / 50)) / 2)
    assert rates(warmup_epochs=0.5)[:6] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1, 0.1])
    assert rates(warmup_epochs=0.5, scale=0.5)[:6] == pytest.approx([0.01, 0.02, 0.03, 0.04, 0.05, 0.05])
    assert rates(warmup_epochs=1)[30] == pytest.approx(0.05)
    assert rates(warmup_epochs=0.1) == pytest.approx([0.1, *rates(warmup_epochs=0.1)[1:]])
    constant = rates(warmup_epochs=0.5, name="constant")
    assert (constant[3], {round(rate, 12) for rate in constant[5:]}) == (pytest.approx(0.08), {0.1})
    steps = rates(name="step", milestones=(2, 4), warmup_epochs=1)
    assert [steps[at] for at in (0, 10, 19, 20, 39, 40)] == pytest.approx([0.01, 0.1, 0.1, 0.01, 0.01, 0.001])


@given(
    steps=st.integers(1, 50),
    epochs=st.integers(0, 20),
    warmup=st.floats(0, 30),
    final=st.floats(0, 1),
    name=st.sampled_from(["cosine", "constant"]),
)
def test_always_within_bounds_and_never_rising_after_warmup(
    steps: int, epochs: int, warmup: float, final: float, name: str
) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    config = ScheduleConfig.model_validate({"name": name, "warmup_epochs": warmup, "final": final})
    scheduler, found = build_scheduler(optimizer, config, steps, epochs), []
    for _ in range(steps * epochs):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert all(0 <= each <= 1 + 1e-9 and math.isfinite(each) for each in found)
    after = found[round(warmup * steps) :]
    assert all(later <= earlier + 1e-9 for earlier, later in pairwise(after))


def test_a_plateau_lowers_every_group_to_its_own_floor() -> None:
    config = ScheduleConfig(name="plateau", patience=2, final=0.02)
    optimizer = build_optimizer(Layered(), OptimizerConfig(lr=0.1, lr_scale={"head": 0.1}))
    scheduler = build_scheduler(optimizer, config, 10, 5)
    found = []
    for loss in (3.0, 2.0, 2.1, 2.0, 1.99999, 1.9, *(7 * [2.0])):
        scheduler.step(loss)
        found.append([group["lr"] for group in optimizer.param_groups])
    assert [found[at][0] for at in (3, 4, 8, 12)] == pytest.approx([0.1, 0.01, 0.002, 0.002])
    assert found[-1] == pytest.approx([0.002, 0.0002])


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
        self.layers[0].weight.requires_grad_(False)


def test_vectors_are_spared_from_decay_when_asked() -> None:
    groups = build_optimizer(Net(), OptimizerConfig(weight_decay=0.5, decay_norms=False)).param_groups
    decayed = {tuple(p.shape): group["weight_decay"] for group in groups for p in group["params"]}
    assert decayed == {(2, 3): 0.5, (3,): 0.0, (2,): 0.0}


def test_everything_decays_by_default_and_frozen_weights_are_left_out() -> None:
    (group,) = build_optimizer(Net(), OptimizerConfig(name="adamw", weight_decay=0.5, betas=(0.8, 0.9))).param_groups
    assert len(group["params"]) == 5
    assert group["weight_decay"] == 0.5
    assert group["betas"] == (0.8, 0.9)


class Layered(nn.Module):
    """A stem, two numbered blocks, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(2, 2)
        self.blocks = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        self.head = nn.Linear(2, 2)


def test_layers_are_counted_from_the_head() -> None:
    scales = rate_scales(Layered(), OptimizerConfig(layer_decay=0.5))
    assert [scales[f"{name}.bias"] for name in ("stem", "blocks.0", "blocks.1", "head")] == [0.125, 0.25, 0.5, 1.0]


# Prefix of parameter names -> layers between it and the head, counted by hand; BEiT's `get_num_layer_for_vit` for the
# transformers, SimMIM's `get_swin_layer` for the place of a patch merging.
LAYERS_AFTER = {
    "mvit_v2_s": {"conv_proj": 17, "pos_encoding": 17, "norm": 0, "head": 0}
    | {f"blocks.{number}": 16 - number for number in range(16)},
    "swin3d_t": {"patch_embed": 13, "features.1": 11, "features.3": 9, "features.5": 3, "norm": 0, "head": 0}
    | {"features.0.0": 12, "features.0.1": 11, "features.2.0": 10, "features.2.1": 9}
    | {f"features.4.{number}": 8 - number for number in range(6)}
    | {"features.6.0": 2, "features.6.1": 1},
    "timm_image": {f"net.{name}": 13 for name in ("cls_token", "pos_embed", "patch_embed")}
    | {f"net.blocks.{number}": 12 - number for number in range(12)}
    | {"net.norm": 0, "net.head": 0},
    "r3d_18": {"stem": 9, "fc": 0}
    | {f"layer{stage}.{number}": 10 - 2 * stage - number for stage in range(1, 5) for number in range(2)},
    "resnet50": {"net.conv1": 17, "net.bn1": 17, "net.fc": 0}
    | {f"net.layer1.{number}": 16 - number for number in range(3)}
    | {f"net.layer2.{number}": 13 - number for number in range(4)}
    | {f"net.layer3.{number}": 9 - number for number in range(6)}
    | {f"net.layer4.{number}": 3 - number for number in range(3)},
    "mobilenet_v3_large": {"net.features.0": 16, "net.features.16": 0, "net.classifier": 0}  # squeeze-and-excitation
    | {f"net.features.{number}": 16 - number for number in range(1, 16)},
    "small_cnn": {"net.0": 4, "net.1": 4, "net.3": 3, "net.4": 3, "net.6": 2, "net.7": 2, "net.9": 1, "net.10": 1}
    | {"net.14": 0},
}


@pytest.mark.parametrize("name", LAYERS_AFTER)
def test_layer_decay_is_beits(name: str) -> None:
    args = {"architecture": "vit_tiny_patch16_224"} if name == "timm_image" else {}
    with torch.device("meta"):
        model = find_model(name)(5, **args)
    scales = rate_scales(model, OptimizerConfig(layer_decay=0.5))
    expected = LAYERS_AFTER[name]
    for parameter, scale in scales.items():
        (after,) = (after for prefix, after in expected.items() if under(parameter, prefix))
        assert scale == 0.5**after, parameter


def test_blocks_are_found_in_stages_and_in_a_wrapped_backbone() -> None:
    def block() -> nn.Module:
        return nn.TransformerEncoderLayer(4, 1, 4)

    stages = nn.ModuleList(nn.ModuleDict({"blocks": nn.Sequential(block(), block())}) for _ in range(2))
    backbone = nn.ModuleDict({"stem": nn.Linear(2, 4), "stages": stages, "norm": nn.LayerNorm(4)})
    numbers = layers(nn.Sequential(backbone, nn.Linear(4, 2)))
    paths = ("0.stem", "0.stages.0.blocks.0", "0.stages.0.blocks.1", "0.stages.1.blocks.0", "0.stages.1.blocks.1")
    for name, number in numbers.items():
        assert number == next((at for at, path in enumerate(paths) if under(name, path)), 5), name


def test_the_longest_prefix_holds_and_groups_carry_their_factor() -> None:
    config = OptimizerConfig(lr=0.1, lr_scale={"blocks": 0.1, "blocks.1": 0.5}, decay_norms=False)
    scales = rate_scales(Layered(), config)
    assert (scales["blocks.0.weight"], scales["blocks.1.weight"], scales["head.weight"]) == (0.1, 0.5, 1.0)
    optimizer = build_optimizer(Layered(), config)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.01, 0.01])
    assert [group["weight_decay"] for group in optimizer.param_groups] == [1e-4, 0.0] * 3
