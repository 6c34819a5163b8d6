"""From decoded frames to the square clip of a model's input; uint8 in, uint8 out.

Whatever is drawn is drawn once per clip, never per frame: a crop that jumps or a color that flickers is motion that is
not there. Resize and crop are one step: the crop's window is found in the source and only that is resized.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from harbench.recipe import AugmentConfig, InputConfig

Frames = npt.NDArray[np.uint8]
"""`[T, H, W, 3]`, RGB."""
Box = tuple[float, float, float, float]
"""xmin, ymin, xmax, ymax as fractions of the media's width and height."""
Window = tuple[int, int, int, int]
"""top, left, height, width in source pixels."""

LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601."""


@dataclass(frozen=True, slots=True)
class Draw:
    """One clip's random numbers, uniform on [0, 1). Options say how they are read, never how many are taken."""

    top: float
    left: float
    area: float
    aspect: float
    flip: float
    brightness: float
    contrast: float
    saturation: float
    hue: float
    angle: float
    gray: float = 1.0
    erase: float = 1.0
    erase_area: float = 0.5
    erase_aspect: float = 0.5
    erase_top: float = 0.5
    erase_left: float = 0.5
    policy: float = 0.5


def draw(rng: np.random.Generator) -> Draw:
    """Take a clip's random numbers from `rng`: always ten, and seven of a child, whose numbers cost `rng` none."""
    return Draw(*rng.random(10).tolist(), *rng.spawn(1)[0].random(7).tolist())


def crop_box(frames: Frames, box: Box) -> Frames:
    """The part of the frames within a person box, at least one pixel, enlarged to whole pixels."""
    height, width = frames.shape[1:3]
    left, top = min(int(box[0] * width), width - 1), min(int(box[1] * height), height - 1)
    right, bottom = max(math.ceil(box[2] * width), left + 1), max(math.ceil(box[3] * height), top + 1)
    return frames[:, max(top, 0) : bottom, max(left, 0) : right]


def train_clip(frames: Frames, config: InputConfig, drawn: Draw) -> Frames:
    """Augmented clip, uint8 `[T, size, size, 3]` (gray: 1 channel), from `[T, H, W, 3]`."""
    clip, _ = _train_crop(frames, config, drawn)
    if config.augment.rand_augment:
        clip = _rand_augmented(clip, config.augment.rand_augment, drawn.policy)
    clip = _recolor(clip, _colors(clip, config.augment, drawn), config.channels == "gray")
    return _erased(clip, config.augment, drawn)


def _rand_augmented(clip: Frames, magnitude: int, policy: float) -> Frames:
    """torchvision's RandAugment of two operations, drawn once for all frames by `policy` in 0..1."""
    import torch
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    video = tv_tensors.Video(torch.from_numpy(np.ascontiguousarray(clip.transpose(0, 3, 1, 2))))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(policy * 2**53))
        changed = v2.RandAugment(num_ops=2, magnitude=magnitude, num_magnitude_bins=31)(video)
    return np.ascontiguousarray(changed.numpy().transpose(0, 2, 3, 1))


def train_flow(frames: Frames, config: InputConfig, drawn: Draw) -> Frames:
    """Augmented optical flow, uint8 `[T, size, size, 2]`: cropped, flipped, erased; it has no colors."""
    clip, flipped = _train_crop(frames, config, drawn)
    if flipped:
        clip[..., 0] = 255 - clip[..., 0]  # what went right goes left
    return _erased(clip, config.augment, drawn)


def eval_clip(frames: Frames, config: InputConfig, *, crop: int, crops: int) -> Frames:
    """Crop number `crop` of `crops`, uint8 `[T, size, size, 3]` (gray: 1 channel)."""
    return _recolor(eval_crop(frames, config, crop=crop, crops=crops), np.eye(3), config.channels == "gray")


def eval_crop(frames: Frames, config: InputConfig, *, crop: int, crops: int) -> Frames:
    """One crop is the center. Three are the first, middle and last place along the long side, as in the 30 views of
    SlowFast (arXiv:1812.03982); `resize` equal to `size` makes them cover the frame.
    """
    height, width = frames.shape[1:3]
    along = 0.5 if crops == 1 else crop / (crops - 1)
    top, left = (along, 0.5) if height > width else (0.5, along)
    return _cut(frames, _window(height, width, config, top, left), config.size)


def _train_crop(frames: Frames, config: InputConfig, drawn: Draw) -> tuple[Frames, bool]:
    """The clip cropped as drawn, and flipped or not."""
    augment, (height, width) = config.augment, frames.shape[1:3]
    if augment.crop == "multiscale":
        window = _inception(height, width, augment.scale, drawn)
    else:
        center = augment.crop == "center"
        window = _window(height, width, config, 0.5 if center else drawn.top, 0.5 if center else drawn.left)
    clip = _cut(frames, window, config.size)
    flipped = drawn.flip < augment.flip
    return np.stack([cv2.flip(frame, 1) for frame in clip]) if flipped else clip, flipped


def _window(height: int, width: int, config: InputConfig, top: float, left: float) -> Window:
    """Source window of a `size` crop after `resize`, at fractions 0..1 of the room that it has."""
    if isinstance(config.resize, tuple):
        resized_height, resized_width = (float(side) for side in config.resize)
    else:
        scale = (config.resize or config.size * 8 / 7) / min(height, width)
        resized_height, resized_width = height * scale, width * scale
    rows = min(max(round(config.size * height / resized_height), 1), height)
    columns = min(max(round(config.size * width / resized_width), 1), width)
    return _place(height - rows, top), _place(width - columns, left), rows, columns


def _inception(height: int, width: int, scale: tuple[float, float], drawn: Draw) -> Window:
    """Inception's crop (arXiv:1409.4842): area uniform in `scale`, aspect log-uniform in 3/4..4/3, cut to the frame."""
    area = height * width * (scale[0] + (scale[1] - scale[0]) * drawn.area)
    rows, columns = _box(height, width, area, (4 / 3) ** (2 * drawn.aspect - 1))
    return _place(height - rows, drawn.top), _place(width - columns, drawn.left), rows, columns


def _box(height: int, width: int, area: float, aspect: float) -> tuple[int, int]:
    """Height and width of a box of an area (square pixels) and aspect (width to height), cut to the frame."""
    return (
        min(max(round(math.sqrt(area / aspect)), 1), height),
        min(max(round(math.sqrt(area * aspect)), 1), width),
    )


def _place(room: int, fraction: float) -> int:
    """A position in 0..room; every one equally likely for a uniform fraction, 0.5 is the middle, 1 the last."""
    return min(int(fraction * (room + 1)), room)


def _cut(frames: Frames, window: Window, size: int) -> Frames:
    """The window of every frame, resized to `size` squared."""
    top, left, rows, columns = window
    cut = frames[:, top : top + rows, left : left + columns]
    if (rows, columns) == (size, size):
        return cut
    # Bilinear reads two by two source pixels, which leaves none out down to half size; area is several times slower.
    method = cv2.INTER_AREA if max(rows, columns) > 2 * size else cv2.INTER_LINEAR
    return np.stack([cv2.resize(frame, (size, size), interpolation=method) for frame in cut])


def _colors(clip: Frames, augment: AugmentConfig, drawn: Draw) -> npt.NDArray[np.float64]:
    """Brightness, contrast, saturation, hue as one affine map of RGB, `[3, 4]`; the identity `[3, 3]` without any.

    Factors are uniform in 1 -/+ the strength and mean what they mean in torchvision's `ColorJitter`, with the mean gray
    of contrast over the clip. Hue turns the chroma plane of YIQ by up to `hue` of a full turn: linear, as HSV's is not.
    """
    loses_color = drawn.gray < augment.gray
    if not (augment.brightness or augment.contrast or augment.saturation or augment.hue or loses_color):
        return np.eye(3)
    brightness = max(1 + augment.brightness * (2 * drawn.brightness - 1), 0.0)
    contrast = max(1 + augment.contrast * (2 * drawn.contrast - 1), 0.0)
    saturation = 0.0 if loses_color else max(1 + augment.saturation * (2 * drawn.saturation - 1), 0.0)
    angle = 2 * math.pi * augment.hue * (2 * drawn.hue - 1)
    gray = np.tile(LUMA, (3, 1))
    turn = np.array([[1, 0, 0], [0, math.cos(angle), -math.sin(angle)], [0, math.sin(angle), math.cos(angle)]])
    to_yiq = np.array([LUMA, (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135)])
    color = np.linalg.inv(to_yiq) @ turn @ to_yiq @ (saturation * np.eye(3) + (1 - saturation) * gray)
    offset = (1 - contrast) * brightness * np.dot(cv2.mean(_flat(clip))[:3], LUMA)
    return np.column_stack([contrast * brightness * color, np.full(3, offset)])


def _erased(clip: Frames, augment: AugmentConfig, drawn: Draw) -> Frames:
    """Random erasing (arXiv:1708.04896), where drawn: a box whose share of the area is drawn too, in all frames.

    Its aspect is log-uniform in 0.3..1/0.3; what does not fit is cut to the frame. It is filled with the clip's mean
    color, so that no edge of unlike brightness gives the box away more than it must.
    """
    if drawn.erase >= augment.erase:
        return clip
    height, width = clip.shape[1:3]
    smallest, largest = augment.erase_area
    area = height * width * (smallest + (largest - smallest) * drawn.erase_area)
    rows, columns = _box(height, width, area, 0.3 ** (2 * drawn.erase_aspect - 1))
    top, left = _place(height - rows, drawn.erase_top), _place(width - columns, drawn.erase_left)
    erased = np.array(clip)
    erased[:, top : top + rows, left : left + columns] = np.round(cv2.mean(_flat(clip))[: clip.shape[3]])
    return erased


def _recolor(clip: Frames, colors: npt.NDArray[np.float64], gray: bool) -> Frames:
    """Apply the affine map, rounded and clamped once; gray leaves one channel."""
    if gray:
        colors = np.array([LUMA]) @ colors
    elif colors.shape == (3, 3):
        return clip
    return np.asarray(cv2.transform(_flat(clip), colors), dtype=np.uint8).reshape(*clip.shape[:3], -1)


def _flat(clip: Frames) -> Frames:
    """The frames one below the other, as one image."""
    return np.ascontiguousarray(clip).reshape(-1, *clip.shape[2:])
