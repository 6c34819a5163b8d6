"""What tells the families apart: what they can and cannot see."""

from __future__ import annotations

import pytest
import torch
from torchvision.models.video import s3d as torchvision_s3d

from harbench.errors import RecipeError
from harbench.models.blockcnn import _left, block_cnn, frame_cnn
from harbench.models.conv3d import s3d
from harbench.models.image import resnet18, small_cnn
from harbench.models.resnet3d import r3d_18
from harbench.models.skeleton import cnn_lstm, pose_mlp


@pytest.fixture(autouse=True)
def _seeded() -> object:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def test_an_image_network_averages_the_logits_of_its_frames() -> None:
    model = small_cnn(4).eval()
    clip = torch.randn(2, 3, 5, 32, 32)
    apart = torch.stack([model(clip[:, :, t : t + 1]) for t in range(5)]).mean(0)
    torch.testing.assert_close(model(clip), apart)
    torch.testing.assert_close(model(clip.flip(2)), model(clip))


def test_dropout_acts_in_training_only() -> None:
    model = resnet18(4, dropout=0.5).eval()
    image = torch.randn(1, 3, 1, 32, 32)
    assert torch.equal(model(image), model(image))
    head = model.train().net.fc
    features = torch.ones(1, 512)
    assert not torch.equal(head(features), head(features))


def test_a_skeleton_network_takes_any_joints_and_length() -> None:
    for joints, channels, bodies, frames in ((25, 3, 2, 40), (15, 2, 1, 15), (17, 3, 1, 1)):
        model = cnn_lstm(6, joints=joints, channels=channels, bodies=bodies).eval()
        assert model(torch.randn(2, channels, frames, joints, bodies)).shape == (2, 6)


def test_order_of_time_is_seen_by_the_sequence_model_and_not_by_single_poses() -> None:
    clip = torch.randn(2, 3, 16, 17, 1)
    sequence, single = cnn_lstm(4).eval(), pose_mlp(4).eval()
    assert not torch.allclose(sequence(clip.flip(2)), sequence(clip), atol=1e-4)
    torch.testing.assert_close(single(clip.flip(2)), single(clip))


@pytest.mark.parametrize("make", [cnn_lstm, pose_mlp])
def test_other_joints_than_expected_name_the_setting(make: object) -> None:
    with pytest.raises(RecipeError, match=r"--set model\.args\.channels=2 --set model\.args\.joints=15 --set model"):
        make(4)(torch.randn(2, 2, 8, 15, 1))


def test_the_head_keeps_the_published_names() -> None:
    assert {"fc.weight", "fc.bias"} <= r3d_18(7, dropout=0.5).state_dict().keys()


def test_s3d_is_torchvisions_at_its_size_and_takes_smaller_frames() -> None:
    model = s3d(4).eval()
    published = torchvision_s3d(num_classes=4).eval()
    published.load_state_dict(model.state_dict())
    clip = torch.randn(1, 3, 16, 224, 224)
    with torch.inference_mode():
        torch.testing.assert_close(model(clip), published(clip))
        assert model(clip[..., :64, :64]).shape == (1, 4)


def test_the_small_cnns_of_kth_are_those_of_their_source() -> None:
    """Its frames of 60x80 leave 2,560 features of one frame and 7,680 of a block of 15."""
    area = _left(60, (5, 3, 3), (2, 2, 2)) * _left(80, (5, 3, 3), (2, 2, 2))
    assert (64 * area, 64 * _left(15, (4, 4, 4), (1, 1, 2)) * area) == (2560, 7680)
    clip = torch.randn(2, 3, 15, 32, 32)
    block, single = block_cnn(4, size=32).eval(), frame_cnn(4, size=32).eval()
    assert not torch.allclose(block(clip.flip(2)), block(clip), atol=1e-4)
    torch.testing.assert_close(single(clip.flip(2)), single(clip))
    with pytest.raises(ValueError, match="too few"):
        block_cnn(4, frames=8)
