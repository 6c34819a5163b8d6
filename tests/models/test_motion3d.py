import pytest
import torch

from harbench.models.motion3d import follow_motion, motion3d


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


def square(x: float, y: float, side: int = 5, height: int = 40, width: int = 60) -> torch.Tensor:
    """One picture `[H, W]`: a bright square with its middle at (x, y)."""
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return (((rows - y).abs() < side / 2) & ((columns - x).abs() < side / 2)).float()


@pytest.mark.parametrize("speed", [-2.0, 0.0, 1.0, 3.0])
def test_the_window_goes_along_with_what_moves(speed: float) -> None:
    noise = 0.19 * (2 * torch.rand(15, 40, 60, generator=torch.Generator().manual_seed(0)) - 1)
    differences = torch.stack([square(30.5 + speed * (t - 7), 15.5) for t in range(15)]).maximum(noise)
    seen = follow_motion(differences[None, None], 32)[0, 0]
    assert seen.shape == (15, 32, 32)
    for picture in seen:
        rows, columns = torch.where(picture > 0.5)
        assert abs(float(rows.float().mean()) - 15.5) < 1 and abs(float(columns.float().mean()) - 15.5) < 2


def test_outside_the_picture_nothing_moves() -> None:
    corner = torch.stack([square(3.5, 3.5)] * 4)[None, None]
    seen = follow_motion(corner, 32)[0, 0, 0]
    assert seen[:12].abs().sum() == seen[:, :12].abs().sum() == 0
    assert seen.sum() == pytest.approx(25, abs=1)


def test_where_little_moves_the_window_is_in_the_middle() -> None:
    faint = 0.1 * torch.randn(1, 1, 4, 40, 60, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    torch.testing.assert_close(follow_motion(faint, 32), faint[:, :, :, 4:36, 14:46])


def test_shift_and_zoom_are_drawn_once_a_clip_and_in_training_only() -> None:
    clips = torch.stack([square(30.5 + t, 15.5) for t in range(10)]).expand(2, 3, -1, -1, -1)
    torch.manual_seed(0)
    model = motion3d(3, width=4, dropout=0.0, follow=32, shift=6, zoom=0.2).eval()
    torch.testing.assert_close(model(clips)[0], model(clips)[1])
    model.training = True  # its batch norms stay as they are
    assert not torch.allclose(model(clips)[0], model(clips)[1], atol=1e-4)
    still = torch.stack([square(30.5, 20.5, side=9)] * 6).expand(2, 1, -1, -1, -1)
    windows = follow_motion(still, 32, shift=6, zoom=0.2)[:, 0]
    for clip in windows:
        torch.testing.assert_close(clip, clip[:1].expand(6, -1, -1))
    assert not torch.equal(windows[0], windows[1])
    assert (windows.sum((1, 2, 3)) / 6 / 81 - 1).abs().max() < 0.7  # 1 / 0.8 ** 2 at most


@pytest.mark.parametrize(
    "args", [{"follow": 16}, {"follow": 64, "zoom": 1.0}, {"follow": 64, "shift": -1}, {"zoom": 0.1}]
)
def test_windows_that_cannot_be(args: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="follow"):
        motion3d(3, **args)  # type: ignore[arg-type]
