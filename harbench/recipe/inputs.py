"""Which samples a recipe reads, and how they become a model's input."""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from harbench.recipe.base import Fraction, Part, Positive

Bodies = Literal["motion", "denoised"]


class CacheConfig(Part):
    """What is stored of a media. Names the cache folder, so it says only what was asked for."""

    stream: Literal["rgb", "flow", "pose"] = "rgb"
    short_side: Annotated[int, Field(ge=16)] | Literal["native"] = 128
    """Pixels; videos smaller than this are never enlarged. Ignored for pose."""
    encoding: Literal["jpeg", "raw"] = "jpeg"
    quality: Annotated[int, Field(ge=1, le=100)] = 90
    bodies: Bodies = "motion"
    """Which bodies of an NTU `.skeleton` are stored, see frames/bodies.py: all, the most moving first; or persons only, as
    two actors (SGN, CTR-GCN)."""

    @property
    def name(self) -> str:
        """Folder name: `rgb-jpeg90-128`, `rgb-raw-native`, `flow-dis-jpeg90-256`, `pose`, `pose-denoised`."""
        if self.stream == "pose":
            return "pose" if self.bodies == "motion" else f"pose-{self.bodies}"
        encoding = f"jpeg{self.quality}" if self.encoding == "jpeg" else "raw"
        return f"{'flow-dis' if self.stream == 'flow' else 'rgb'}-{encoding}-{self.short_side}"

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """The settings that a cache folder's name says; None when it is no such name."""
        if pose := re.fullmatch(r"pose(?:-(denoised))?", name):
            return cls(stream="pose", bodies="denoised" if pose[1] else "motion")
        parts = re.fullmatch(r"(rgb|flow)(?:-dis)?-(raw|jpeg)(\d*)-(native|\d+)", name)
        if parts is None:
            return None
        keys = ("stream", "encoding", "quality", "short_side")
        try:
            found = cls.model_validate({key: value for key, value in zip(keys, parts.groups(), strict=True) if value})
        except ValidationError:
            return None
        return found if found.name == name else None

    @property
    def options(self) -> str:
        """The options of `harbench prepare` that make this cache."""
        if self.stream == "pose":
            return "--stream pose" + (f" --bodies {self.bodies}" if self.bodies != "motion" else "")
        words = ["--stream flow"] if self.stream == "flow" else []
        words += [f"--short-side {self.short_side}"]
        words += ["--encoding raw"] if self.encoding == "raw" else []
        words += [f"--quality {self.quality}"] if self.encoding == "jpeg" and self.quality != 90 else []
        return " ".join(words)

    @property
    def pixels(self) -> float:
        """The short side as a number; infinity for `native`."""
        return math.inf if self.short_side == "native" else self.short_side

    def serves(self, asked: CacheConfig) -> bool:
        """Whether a cache of these settings holds all that `asked` needs: pixels are only resized down.

        The same stream, at least the short side, and at least the encoding: raw serves JPEG, JPEG never raw, and a JPEG
        only one of the same or a lower quality. Flow is in pixels of its own size, so another size is another flow.
        """
        if self.stream != asked.stream:
            return False
        if self.stream == "pose":
            return self.bodies == asked.bodies
        if self.encoding == "jpeg" and (asked.encoding == "raw" or self.quality < asked.quality):
            return False
        return self.pixels == asked.pixels or (self.stream == "rgb" and self.pixels > asked.pixels)


class TrainSubset(Part):
    """Less training data: a share of every class, or `n` samples of it, whole groups (in an order drawn once) first."""

    fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    n: Positive | None = None

    @model_validator(mode="after")
    def _one_measure(self) -> TrainSubset:
        if (self.fraction is None) == (self.n is None):
            raise ValueError("give exactly one of fraction and n")
        return self


class DataConfig(Part):
    """Which samples, and what is read of them."""

    dataset: str
    split: str = ""
    """Official split (`split1`, shown and accepted as `1`); empty: the data set's default."""
    cache: CacheConfig = CacheConfig()
    classes: tuple[str, ...] = ()
    """Only these class keys; makes the run partial. Empty: all."""
    boxes: bool = False
    """Crop stills to the given person box (Stanford40); part of the comparability key."""
    validation: Annotated[float, Field(gt=0, lt=1)] | Literal["official"] | None = None
    """Held out of train as `val`, to choose settings: about this share of it, by whole groups, or with `official` the
    validation set that the data set defines (KTH, UCF-101, sample). None: train on all of train."""
    train_subset: TrainSubset | None = None
    """Train on less; makes the run partial."""
    shots: Positive | None = None
    """Train on so many samples a class, drawn by seed and class, each from another group while there are more: a k-shot
    number, ranked with others of as many shots. The mean over seeds is what is reported."""
    base_to_novel: bool = False
    """Train on the base half of the classes; score samples of either half among the classes of that half."""


class Dense(Part):
    """`num_frames` frames at a fixed distance: `stride` source frames, or `fps` frames per second by time stamp."""

    num_frames: Positive
    stride: Positive | None = None
    fps: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _one_time_base(self) -> Dense:
        if (self.stride is None) == (self.fps is None):
            raise ValueError("give exactly one of stride and fps")
        return self


class Segments(Part):
    """TSN: the range is cut into `n` equal segments, one frame of each: random in training, the middle one in evaluation."""

    n: Positive
    distinct: bool = False
    """For poses, as pyskl's UniformSample: no frame twice in a clip, and no two evaluation clips alike, while the range
    has the frames for it; a range of fewer than `n` is taken frame by frame, as `short` says. False: frames repeat."""


class Whole(Part):
    """`num_frames` over the whole range: evenly (`linspace`) or sorted random draws (`random`, in training only).

    `resize` is for poses only: every frame is read and the tracks are interpolated to `num_frames`, as DD-Net does.
    """

    num_frames: Positive
    draw: Literal["linspace", "random", "resize"] = "linspace"


class Uniform(Part):
    """`n` single frames, evenly spaced, each a clip of its own, so `eval.clips` is `n`; one is the middle frame."""

    n: Positive = 1


class ClipConfig(Part):
    """How frames are chosen in time: exactly one of the four families."""

    dense: Dense | None = None
    segments: Segments | None = None
    whole: Whole | None = None
    uniform: Uniform | None = None
    short: Literal["loop", "error"] = "loop"
    """What is done when the range is shorter than a dense clip, or than `n` distinct segments."""

    @model_validator(mode="after")
    def _one_family(self) -> ClipConfig:
        given = [name for name in ("dense", "segments", "whole", "uniform") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"give exactly one of dense, segments, whole, uniform (found {', '.join(given) or 'none'})"
            )
        return self

    @property
    def frames_per_clip(self) -> int:
        """T of one clip."""
        if self.dense:
            return self.dense.num_frames
        if self.segments:
            return self.segments.n
        return self.whole.num_frames if self.whole else 1


class AugmentConfig(Part):
    """Training-time augmentation; every draw is made once per clip, never per frame."""

    crop: Literal["random", "center", "multiscale"] = "random"
    """`multiscale`: area and aspect drawn as in Inception, see `scale`."""
    scale: tuple[Fraction, Fraction] = (0.25, 1.0)
    """Area range of `multiscale`."""
    flip: Fraction = 0.5
    """Probability of a horizontal flip."""
    brightness: Fraction = 0.0
    contrast: Fraction = 0.0
    saturation: Fraction = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    gray: Fraction = 0.0
    """Probability that a clip loses its colors."""
    erase: Fraction = 0.0
    """Probability that a box of aspect 0.3 to 3.3 is filled with the clip's mean color (arXiv:1708.04896)."""
    erase_area: tuple[Fraction, Fraction] = (0.02, 0.33)
    """Range of the box's area, as a share of the clip's."""
    rand_augment: Annotated[int, Field(ge=0, le=30)] = 0
    """Magnitude, of 30, of two operations of RandAugment (arXiv:1909.13719), the same ones for all frames; 0: none."""
    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Poses only: rotation in the image plane (2D) or about the vertical axis (3D), degrees either way."""
    tilt: Annotated[float, Field(ge=0, le=180)] = 0.0
    """3D poses only: rotation about the horizontal axis, degrees either way."""
    noise: Annotated[float, Field(ge=0)] = 0.0
    """Poses only: standard deviation of Gaussian joint noise after normalization."""

    @model_validator(mode="after")
    def _ranges_rise(self) -> AugmentConfig:
        for name in ("scale", "erase_area"):
            smallest, largest = getattr(self, name)
            if smallest > largest or not largest:
                raise ValueError(f"{name}: expected [smallest, largest] share of the area, found {[smallest, largest]}")
        return self


class InputConfig(Part):
    """From cached frames to a model's input."""

    clip: ClipConfig
    size: Positive = 112
    """Side of the square crop in pixels. Ignored for pose."""
    resize: tuple[Positive, Positive] | Positive | None = None
    """Before the crop: an int is the short side, a pair is (height, width) squashed; None: short side = size * 8 / 7."""
    normalize: Literal["kinetics400", "imagenet", "slowfast", "clip", "half", "none"] = "kinetics400"
    """Channel mean and deviation on [0, 1]: torchvision's for video or images, 0.45/0.225, CLIP's, 0.5/0.5, or none."""
    channels: Literal["rgb", "gray"] = "rgb"
    augment: AugmentConfig = AugmentConfig()
    with_pose: bool = False
    """Beside the pictures the joints of the same frames, from the data set's pose cache, as the model's second input."""
    bodies: Positive = 1
    """Poses only: M, bodies kept."""
    center: bool | Literal["spine", "box"] = True
    """Poses only: subtract the mean joint and divide by the body's size, per clip. `spine` (3D, as pyskl): the middle of
    the spine in the sample's first frame becomes the origin, and the body stands upright and faces one way there. `box`:
    each axis is stretched from -1 to 1 over the clip, as CTR-GCN does on Northwestern-UCLA."""
    features: Literal["joint", "bone", "joint_motion", "bone_motion"] = "joint"
    """Poses only: joints, vectors to them from their neighbor nearer the trunk, or differences of either in time, from
    one frame of the sample to the next, however far apart those of a clip are."""

    @property
    def whole_tracks(self) -> bool:
        """Poses only: whether a frame's values need frames beside those of the clip."""
        resized = self.clip.whole is not None and self.clip.whole.draw == "resize"  # the clip is the whole sample
        return not resized and (self.center == "spine" or self.features.endswith("motion"))

    @model_validator(mode="after")
    def _crop_fits(self) -> InputConfig:
        smallest = min(self.resize) if isinstance(self.resize, tuple) else self.resize
        if smallest is not None and smallest < self.size:
            raise ValueError(f"resize: {self.resize} is smaller than the crop, size: {self.size}")
        return self

    @model_validator(mode="after")
    def _joints_fit_pictures(self) -> InputConfig:
        if self.with_pose and self.center is not True:
            raise ValueError("with_pose needs center: true, which is the same wherever a picture is cropped")
        if self.with_pose and self.augment.rotate:
            raise ValueError("with_pose: augment.rotate turns joints, and the picture beside them would stand")
        return self
