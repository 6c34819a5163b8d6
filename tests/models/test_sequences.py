"""Segments, recurrent and graph networks: what they can and cannot see, and where their tensors come from."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models import resnet18 as torchvision_resnet18
from torchvision.models.video import mvit_v2_s as torchvision_mvit

from harbench.errors import RecipeError
from harbench.models.ddnet import ddnet
from harbench.models.image import image_network
from harbench.models.poseconv3d import heat_maps
from harbench.models.recurrent import cnn_gru, resnet_lstm
from harbench.models.segments import _shift, ghost, tsm, tsn
from harbench.models.stgcn import partitions, stgcn, stgcnpp
from harbench.models.transformer import mvit_v2_s
from harbench.models.twostream import flow_stack

SMALL = {"backbone": "small_cnn"}


@pytest.fixture(autouse=True)
def _seeded() -> object:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def settled(model: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """With batch statistics of random input: a deep fresh network passes nearly nothing on."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = None
    model(torch.randn(16, *shape))
    return model.eval()


@pytest.mark.parametrize("make", [ghost, tsn])
def test_order_is_invisible_to_frame_baselines(make: object) -> None:
    model, clip = make(4, **SMALL).eval(), torch.randn(2, 3, 6, 32, 32)
    torch.testing.assert_close(model(clip.flip(2)), model(clip))


def test_a_ghost_sees_only_the_mean_image() -> None:
    model, clip = ghost(4, **SMALL).eval(), torch.randn(2, 3, 6, 32, 32)
    torch.testing.assert_close(model(clip.mean(2, keepdim=True)), model(clip))


@pytest.mark.parametrize("model", [resnet_lstm(4, **SMALL), cnn_gru(4, **SMALL), tsm(4, **SMALL, frames=6)])
def test_order_is_seen_by_sequence_models(model: nn.Module) -> None:
    clip = torch.randn(2, 3, 6, 32, 32)
    assert not torch.allclose(model.eval()(clip.flip(2)), model(clip), atol=1e-4)


def test_a_shift_by_hand() -> None:
    clip = torch.arange(1.0, 13).view(3, 4, 1, 1)  # one clip of three frames, four channels
    (shifted,) = _shift(nn.Identity(), (clip,), frames=3, part=4)
    assert shifted.flatten(1).tolist() == [[5, 0, 3, 4], [9, 2, 7, 8], [0, 6, 11, 12]]


def test_a_shifted_resnet_keeps_its_names_and_shifts_every_branch() -> None:
    model = tsm(4, "resnet18", frames=2)
    published = torchvision_resnet18()
    assert set(model.net.state_dict()) == set(published.state_dict())
    assert sum(bool(module._forward_pre_hooks) for module in model.modules()) == 8
    with pytest.raises(RecipeError, match=r"--set model\.args\.frames=3"):
        model(torch.zeros(1, 3, 3, 32, 32))


def test_a_still_clip_is_one_flow_picture() -> None:
    model = flow_stack(3, **SMALL, frames=4).eval()
    flow = torch.randn(1, 2, 4, 32, 32)
    stacked = torch.cat([flow[:, :, t] for t in range(4)], dim=1)
    torch.testing.assert_close(model(flow), model.net(stacked))
    with pytest.raises(RecipeError, match=r"data\.cache\.stream=flow"):
        model(torch.zeros(1, 3, 4, 32, 32))


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_large", "small_cnn", "timm:resnet10t"])
def test_an_image_network_of_any_channels(name: str) -> None:
    assert image_network(name, 5, channels=8).eval()(torch.zeros(2, 8, 64, 64)).shape == (2, 5)


def test_mvit_is_torchvisions() -> None:
    with torch.device("meta"):
        ours, theirs = mvit_v2_s(400), torchvision_mvit()
    shapes = [{key: value.shape for key, value in net.state_dict().items()} for net in (ours, theirs)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("make", [ddnet, stgcn, stgcnpp])
def test_bodies_are_equal(make: object) -> None:
    model = settled(make(4, joints=15, channels=2, bodies=2), (2, 16, 15, 2))
    poses = torch.randn(2, 2, 16, 15, 2)
    torch.testing.assert_close(model(poses.flip(4)), model(poses))
    assert not torch.allclose(model(poses.flip(2)), model(poses), atol=1e-4), "time has a direction"


def test_ddnet_does_not_see_where_the_body_stands() -> None:
    model, poses = settled(ddnet(4), (2, 32, 15, 1)), torch.randn(2, 2, 32, 15, 1)
    torch.testing.assert_close(model(poses + 3), model(poses), atol=1e-4, rtol=1e-4)


def test_ddnet_takes_statistics_per_frame_where_told() -> None:
    torch.manual_seed(0)
    model, poses = ddnet(4, frames=16), torch.randn(6, 2, 16, 15, 1)
    norm = model.distances[1]
    seen: list[torch.Tensor] = []
    norm.register_forward_hook(lambda _, inputs, output: seen.extend((inputs[0], output)))
    model(poses)
    before, after = seen
    frames = before.transpose(1, 2)  # [N, T, C]
    expected = (before - frames.mean((0, 2))) / (frames.var((0, 2), unbiased=False) + norm.eps).sqrt()
    torch.testing.assert_close(after, torch.nn.functional.leaky_relu(expected, 0.2), atol=1e-5, rtol=1e-4)  # in place
    with pytest.raises(RecipeError, match=r"--set model\.args\.frames=32"):
        model(torch.randn(6, 2, 32, 15, 1))
    with pytest.raises(RecipeError, match="a multiple of 8"):
        ddnet(4, frames=15)


def test_an_absent_body_is_finite() -> None:
    assert ddnet(4)(torch.zeros(2, 2, 32, 15, 1)).isfinite().all()


@pytest.mark.parametrize("each", [True, False])
def testpartitions_of_a_graph(each: bool) -> None:
    own, inward, outward = partitions(25, each=each)
    assert torch.equal(own != 0, torch.eye(25) != 0)
    assert (inward != 0).sum() == (outward != 0).sum() == 24
    assert torch.equal(inward != 0, (outward != 0).T)
    columns = torch.stack([own, inward, outward]).sum(1)
    expected = columns.round() if each else torch.ones(3, 25) / 3
    torch.testing.assert_close(columns if each else columns.sum(0, keepdim=True).expand(3, 25) / 3, expected)


def test_an_unknown_graph_is_told() -> None:
    with pytest.raises(RecipeError, match=r"model\.args\.joints: 9, but how they are connected is not known"):
        stgcn(4, joints=9)


def test_heat_maps_peak_where_the_joints_are() -> None:
    poses = torch.zeros(1, 3, 1, 3, 2)
    poses[0, :2, 0, 0, 0], poses[0, :2, 0, 1, 1] = torch.tensor([-2.0, -1.0]), torch.tensor([2.0, 1.0])
    poses[0, 2] = 0.5
    maps = heat_maps(poses, 25, sigma=0.6)
    assert maps.shape == (1, 3, 1, 25, 25)
    peaks = [divmod(int(maps[0, joint, 0].argmax()), 25) for joint in (0, 1)]
    assert peaks == [(7, 2), (17, 22)], "the longer side, 4 of 5 squares' lengths, is 20 of 25 pixels"
    assert maps[0, :2].amax(dim=(1, 2, 3)).tolist() == pytest.approx([0.5, 0.5], abs=1e-4)
    assert not maps[0, 2].any(), "a joint of zeros has no map"
    torch.testing.assert_close(
        heat_maps(torch.cat([poses[:, :2] * 3 + (poses[:, :2] != 0), poses[:, 2:]], 1), 25, 0.6), maps
    )
    assert not heat_maps(torch.zeros(1, 2, 1, 3, 1), 25, 0.6).any()
