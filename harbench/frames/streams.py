"""The streams that are read of media: rgb, flow, pose. All that differs between them is in one `Stream` each."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import simplejpeg

from harbench.errors import MediaError
from harbench.frames.decode import (
    Decoder,
    Frame,
    frame_rate,
    is_variable,
    times_shown,
)
from harbench.frames.decoders import decoder_for
from harbench.frames.flow import BOUND, flow_images, shrink, stacked, unstacked
from harbench.frames.poses import read_pose
from harbench.frames.skeletons import FramePairs, eval_joints, train_joints
from harbench.frames.stills import Pixels
from harbench.frames.transforms import Draw, eval_clip, eval_crop, train_clip, train_flow
from harbench.recipe import CacheConfig, InputConfig

if TYPE_CHECKING:
    import torch

Array = npt.NDArray[Any]

MEAN_STD = {
    "kinetics400": ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "slowfast": ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
"""Mean and deviation on [0, 1]: torchvision's for video and for images, PySlowFast's (MViT, X3D), CLIP's, and plain ones."""


@dataclass
class Encoded:
    """What the cache's index says of an encoded media, complete once its members are exhausted."""

    frames: int = 0
    fps: float = 0.0
    size: tuple[int, int] = (0, 0)
    """Height and width as stored; zeros for poses."""
    source_size: tuple[int, int] = (0, 0)
    """Height and width as decoded."""
    decoder: str = ""
    times: list[float] = field(default_factory=list)
    """Seconds at which each frame is shown; NaN where unknown."""
    notes: tuple[str, ...] = ()
    channels: int = 3

    @property
    def facts(self) -> dict[str, object]:
        """Fields of `blocks.Entry`."""
        stamps = np.array(self.times)
        return {
            "frames": self.frames, "fps": frame_rate(self.fps, stamps), "decoder": self.decoder,
            "width": self.size[1], "height": self.size[0], "source_width": self.source_size[1],
            "source_height": self.source_size[0], "variable": is_variable(stamps), "times": times_shown(stamps),
            "notes": self.notes, "channels": self.channels,
        }  # fmt: skip


@dataclass(frozen=True)
class View:
    """How one view is made of the frames of a clip."""

    drawn: Draw
    """The clip's random numbers; training only."""
    rng: np.random.Generator
    """For what needs more of them: noise on joints."""
    train: bool
    crop: int = 0
    """Which of the spatial crops; evaluation only."""
    crops: int = 1
    at: FramePairs | None = None
    """Where the clip is among the joints of a whole sample."""


@dataclass(frozen=True)
class Stream:
    """One kind of input: how it is stored, read, and made a model's input."""

    modality: str
    """As run records and published tables call it."""
    channels: int
    """Values a pixel that a model is given; 0 for joints, of which each set has its own."""
    encode: Callable[[Path, CacheConfig, Decoder | None, Encoded], Iterator[bytes | Pixels]]
    """(file, config, decoder of videos, facts to be filled in) -> a JPEG or an array a frame, one in memory at a time.
    Raises MediaError when the file cannot be decoded."""
    decode: Callable[[Iterable[Pixels], int, tuple[int, int]], Pixels]
    """(stored JPEGs, how many, (height, width)) -> uint8 `[n, height, width, channels]`. Raises ValueError."""
    normalize: Callable[[torch.Tensor, InputConfig], torch.Tensor]
    """A batch as stored -> float32 on the same device."""
    augment: Callable[[Array, InputConfig, View], Array]
    """Frames of a clip `[T, ...]` -> a view `[C, T, ...]`, augmented in training."""
    pixel_bytes: Mapping[str, float]
    """Encoding -> bytes a pixel takes in a cache, seen on UCF-101 at quality 90; for estimates."""
    frame_seconds: float
    """Time to cache a frame of UCF-101 on one 2.5 GHz core; for estimates."""
    stored_as: str = ""
    """What a record says of its values beside the cache's name."""

    @property
    def pictures(self) -> bool:
        """Whether its frames have pixels, not joints."""
        return self.channels > 0

    @property
    def colors(self) -> bool:
        """Whether its pixels are colors."""
        return self.channels == 3

    def shape(self, config: InputConfig, joints: tuple[int, int]) -> tuple[int, ...]:
        """A view: `[C, T, size, size]` of pictures, `[C, T, V, M]` of joints, which are `(channels, V)`.

        Gray pictures are repeated to three channels.
        """
        frames = config.clip.frames_per_clip
        if self.pictures:
            return self.channels, frames, config.size, config.size
        return joints[0], frames, joints[1], config.bodies


# ------------------------------------------------------------------------------------------------------------ encoding
def encode(
    media: str, path: Path, config: CacheConfig, facts: dict[str, object], decoder: Decoder | None = None
) -> Iterator[tuple[str, bytes | Pixels]]:
    """The members of a media for `BlockWriter.append`, one frame in memory at a time, then `facts` of its index line.

    Raises MediaError when it cannot be decoded.
    """
    stem, encoded = PurePosixPath(media).with_suffix(""), Encoded()
    for number, content in enumerate(STREAMS[config.stream].encode(path, config, decoder, encoded), 1):
        picture = isinstance(content, bytes) and not content.startswith(b"\x93NUMPY")
        yield f"{stem}/{number:06d}.jpg" if picture else f"{stem}.npy", content
    if not encoded.frames:
        raise MediaError("there is no frame in it")
    facts |= encoded.facts


def _encode_rgb(path: Path, config: CacheConfig, decoder: Decoder | None, encoded: Encoded) -> Iterator[bytes | Pixels]:
    def shrunken(frames: Iterator[Frame]) -> Iterator[tuple[Frame, Pixels]]:
        for frame in frames:
            yield frame, shrink(frame.image, config.short_side)

    decoder = decoder_for(path, decoder, config.short_side)
    for frame, image in _counted(decoder, path, shrunken, encoded):
        if config.encoding == "raw":
            yield image
        else:
            untouched = frame.original if image is frame.image else None
            yield untouched or encode_jpeg(image, config.quality)


def _encode_flow(
    path: Path, config: CacheConfig, decoder: Decoder | None, encoded: Encoded
) -> Iterator[bytes | Pixels]:
    encoded.channels = 2

    def flow(frames: Iterator[Frame]) -> Iterator[tuple[Frame, Pixels]]:
        return flow_images(frames, config.short_side)

    for _, image in _counted(decoder_for(path, decoder), path, flow, encoded):
        yield image if config.encoding == "raw" else encode_jpeg(stacked(image), config.quality, "GRAY")


def _encode_pose(
    path: Path, config: CacheConfig, decoder: Decoder | None, encoded: Encoded
) -> Iterator[bytes | Pixels]:
    pose, out = read_pose(path, config.bodies), io.BytesIO()
    np.save(out, pose, allow_pickle=False)
    encoded.frames, encoded.decoder = len(pose), f"numpy {np.__version__}"
    yield out.getvalue()


def _counted(
    decoder: Decoder,
    path: Path,
    images: Callable[[Iterator[Frame]], Iterator[tuple[Frame, Pixels]]],
    encoded: Encoded,
) -> Iterator[tuple[Frame, Pixels]]:
    """The frames of a file, each with the image that is stored of it, written down in `encoded`."""
    with decoder(path) as decoded:
        encoded.fps, encoded.decoder = decoded.fps, decoded.decoder
        for frame, image in images(decoded.frames):
            if encoded.source_size not in ((0, 0), frame.size):
                raise MediaError(f"its frames change size from {encoded.source_size} to {frame.size} (height, width)")
            encoded.frames, encoded.source_size = encoded.frames + 1, frame.size
            encoded.size = image.shape[0], image.shape[1]
            encoded.times.append(np.nan if frame.time is None else frame.time)
            yield frame, image
    encoded.notes = tuple(decoded.notes)


def encode_jpeg(image: Pixels, quality: int, space: str = "RGB") -> bytes:
    """RGB uint8 [H, W, 3] as a JPEG with 4:2:0 colors, or [H, W, 1] in the color space GRAY.

    Huffman tables of its own would make it 6 % smaller and take two and a half times as long. Raises MediaError above
    65,500 pixels.
    """
    subsampling = {"RGB": "420", "GRAY": "Gray"}[space]
    try:
        return bytes(
            simplejpeg.encode_jpeg(
                np.ascontiguousarray(image), quality=quality, colorspace=space, colorsubsampling=subsampling
            )
        )
    except ValueError as error:
        raise MediaError(f"a frame of {image.shape[1]} x {image.shape[0]} cannot be a JPEG: {error}") from None


# ------------------------------------------------------------------------------------------------------------ decoding
def _decode_rgb(jpegs: Iterable[Pixels], count: int, size: tuple[int, int]) -> Pixels:
    return _decoded(jpegs, (count, *size, 3), "RGB")


def _decode_flow(jpegs: Iterable[Pixels], count: int, size: tuple[int, int]) -> Pixels:
    return unstacked(_decoded(jpegs, (count, 2 * size[0], size[1], 1), "GRAY"))


def _decode_pose(jpegs: Iterable[Pixels], count: int, size: tuple[int, int]) -> Pixels:
    raise ValueError("expected one array of poses")


def _decoded(jpegs: Iterable[Pixels], shape: tuple[int, ...], space: str) -> Pixels:
    pictures = np.empty(shape, np.uint8)
    for picture, data in zip(pictures, jpegs, strict=True):
        decoded = simplejpeg.decode_jpeg(data, colorspace=space, buffer=picture, strict=False)
        if decoded.shape != picture.shape:
            raise ValueError(f"a frame of shape {decoded.shape}, expected {picture.shape}")
    return pictures


# --------------------------------------------------------------------------------------------------------- model input
def normalize(frames: torch.Tensor, config: InputConfig) -> torch.Tensor:
    """Model input, float32 on the same device, from a batch of any stream as stored."""
    return stream_of(frames, frames.shape[1]).normalize(frames, config)


def _normalize_rgb(frames: torch.Tensor, config: InputConfig) -> torch.Tensor:
    """`[B, 3, T, H, W]` by the mean and deviation of `config`, from uint8 with 1 or 3 channels.

    Gray is repeated to three channels here, so that every model and every pretrained weight takes it.
    """
    import torch

    mean, std = torch.tensor(MEAN_STD[config.normalize], device=frames.device).view(2, 1, 3, 1, 1, 1)
    values = frames.expand(-1, 3, -1, -1, -1).to(torch.float32, memory_format=torch.contiguous_format)
    return values.mul_(1 / (255 * std)).sub_(mean / std)


def _normalize_flow(frames: torch.Tensor, config: InputConfig) -> torch.Tensor:
    """`[B, 2, T, H, W]` in -1..1."""
    return frames.float().div_(127.5).sub_(1)


def _normalize_pose(frames: torch.Tensor, config: InputConfig) -> torch.Tensor:
    """As they are: joints are normalized clip by clip."""
    return frames


def _augment_rgb(frames: Array, config: InputConfig, view: View) -> Array:
    if view.train:
        return train_clip(frames, config, view.drawn).transpose(3, 0, 1, 2)
    return eval_clip(frames, config, crop=view.crop, crops=view.crops).transpose(3, 0, 1, 2)


def _augment_flow(frames: Array, config: InputConfig, view: View) -> Array:
    if view.train:
        return train_flow(frames, config, view.drawn).transpose(3, 0, 1, 2)
    return eval_crop(frames, config, crop=view.crop, crops=view.crops).transpose(3, 0, 1, 2)


def _augment_joints(joints: Array, config: InputConfig, view: View) -> Array:
    if view.train:
        return train_joints(joints, config, view.drawn, view.rng, view.at)
    return eval_joints(joints, config, view.at)


STREAMS: Mapping[str, Stream] = {
    "rgb": Stream("RGB", 3, _encode_rgb, _decode_rgb, _normalize_rgb, _augment_rgb, {"jpeg": 0.3, "raw": 3}, 1.4e-3),
    "flow": Stream(
        "flow",
        2,
        _encode_flow,
        _decode_flow,
        _normalize_flow,
        _augment_flow,
        {"jpeg": 0.05, "raw": 2},
        18e-3,
        f", ±{BOUND:.0f} px in uint8",
    ),
    "pose": Stream("pose", 0, _encode_pose, _decode_pose, _normalize_pose, _augment_joints, {}, 1.4e-3),
}
"""By the name that `data.cache.stream` gives them."""


def stream_of(frames: Any, channels: int) -> Stream:
    """The stream of an array or a tensor: joints are float32, pictures uint8; flow is the one with two channels."""
    if not str(frames.dtype).endswith("uint8"):
        return STREAMS["pose"]
    return STREAMS["flow" if channels == STREAMS["flow"].channels else "rgb"]
