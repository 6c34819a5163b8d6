import pytest
import torch

from harbench.models.motion3d import motion3d


@pytest.fixture
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return motion3d(10, width=8).eval()


@pytest.mark.parametrize("shape", [(9, 32, 32), (16, 64, 64), (16, 60, 80)])
def test_logits_of_any_clip_size(model: torch.nn.Module, shape: tuple[int, int, int]) -> None:
    assert model(torch.randn(2, 3, *shape)).shape == (2, 10)


def test_a_still_scene_is_invisible_whatever_it_shows(model: torch.nn.Module) -> None:
    still = torch.randn(2, 3, 1, 32, 32).expand(-1, -1, 16, -1, -1)
    first, second = model(still)
    torch.testing.assert_close(first, second)


def test_the_background_does_not_matter_and_the_motion_does(model: torch.nn.Module) -> None:
    moving = torch.randn(1, 3, 16, 32, 32)
    background = torch.randn(1, 3, 1, 32, 32)
    torch.testing.assert_close(model(moving + background), model(moving), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(model(2 * moving), model(moving), atol=1e-3)


def test_time_backwards_is_another_clip(model: torch.nn.Module) -> None:
    clip = torch.randn(1, 3, 16, 32, 32)
    assert not torch.allclose(model(clip.flip(2)), model(clip), atol=1e-3)


def test_learns_the_direction_of_time() -> None:
    """Two classes made of the same frames in both orders: nothing but the order can tell them apart."""
    torch.manual_seed(0)
    model = motion3d(2, width=4, dropout=0.0)
    frame = torch.linspace(0, 1, 16).view(1, 1, 16, 1, 1) * torch.randn(8, 1, 1, 32, 32).abs()
    up = frame.expand(-1, 3, -1, -1, -1)
    clips, targets = torch.cat([up, up.flip(2)]), torch.tensor([0] * 8 + [1] * 8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(15):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(clips), targets).backward()
        optimizer.step()
    assert (model(clips).argmax(1) == targets).all()
