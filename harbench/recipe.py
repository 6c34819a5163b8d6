"""A recipe: one training and evaluation setting. Frozen pydantic models; the parts are the small configs that functions take.

A component never sees a whole recipe, only its own part. `load_recipe` reports every problem at once, by dotted path.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from harbench.errors import RecipeError

Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Part(BaseModel):
    """Base of every part: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


# --------------------------------------------------------------------------------------------------------------- data
class CacheConfig(Part):
    """What is stored of a media. Names the cache folder, so it says only what was asked for."""

    stream: Literal["rgb", "flow", "pose"] = "rgb"
    short_side: Annotated[int, Field(ge=16)] | Literal["native"] = 128
    """Pixels; videos smaller than this are never enlarged. Ignored for pose."""
    encoding: Literal["jpeg", "raw"] = "jpeg"
    quality: Annotated[int, Field(ge=1, le=100)] = 90

    @property
    def name(self) -> str:
        """Folder name: `rgb-jpeg90-128`, `rgb-raw-native`, `pose`."""
        if self.stream == "pose":
            return "pose"
        encoding = f"jpeg{self.quality}" if self.encoding == "jpeg" else "raw"
        return f"{self.stream}-{encoding}-{self.short_side}"


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
    validation: Fraction | None = None
    """Share of the training groups held out as `val` for choosing settings; None: train on all of train."""


# -------------------------------------------------------------------------------------------------------------- input
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
    jitter: bool = True


class Whole(Part):
    """`num_frames` over the whole range: evenly (`linspace`) or sorted random draws (`random`, in training only)."""

    num_frames: Positive
    draw: Literal["linspace", "random"] = "linspace"


class Uniform(Part):
    """`n` single frames, evenly spaced, each a clip of its own, so `eval.clips` is `n`; one is the middle frame."""

    n: Positive = 1


class ClipConfig(Part):
    """How frames are chosen in time: exactly one of the four families."""

    dense: Dense | None = None
    segments: Segments | None = None
    whole: Whole | None = None
    uniform: Uniform | None = None
    short: Literal["loop", "repeat_last", "error"] = "loop"
    """What is done when the range is shorter than a dense clip."""

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
    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Poses only: rotation in the image plane (2D) or about the vertical axis (3D), degrees either way."""
    noise: Annotated[float, Field(ge=0)] = 0.0
    """Poses only: standard deviation of Gaussian joint noise after normalisation."""


class InputConfig(Part):
    """From cached frames to a model's input."""

    clip: ClipConfig
    size: Positive = 112
    """Side of the square crop in pixels. Ignored for pose."""
    resize: tuple[Positive, Positive] | Positive | None = None
    """Before the crop: an int is the short side, a pair is (height, width) squashed; None: short side = size * 8 / 7."""
    normalize: Literal["kinetics400", "imagenet", "half", "none"] = "kinetics400"
    """Channel mean and standard deviation on [0, 1]: torchvision's video or image constants, 0.5/0.5, or none."""
    channels: Literal["rgb", "grey"] = "rgb"
    augment: AugmentConfig = AugmentConfig()
    bodies: Positive = 1
    """Poses only: M, bodies kept."""
    center: bool = True
    """Poses only: subtract the mean joint and divide by the body's size, per clip."""

    @model_validator(mode="after")
    def _crop_fits(self) -> InputConfig:
        smallest = min(self.resize) if isinstance(self.resize, tuple) else self.resize
        if smallest is not None and smallest < self.size:
            raise ValueError(f"resize: {self.resize} is smaller than the crop, size: {self.size}")
        return self


# -------------------------------------------------------------------------------------------------------------- model
class ModelConfig(Part):
    """A model is a plain function: `name` of one under `models/`, or `module:function`, or `file.py:function`."""

    name: str
    weights: str | None = None
    """`kinetics400` or `imagenet` (torchvision's or timm's hub), or a path to .safetensors / .pth; None: from scratch."""
    args: Mapping[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the function."""


# -------------------------------------------------------------------------------------------------------------- train
class OptimizerConfig(Part):
    """SGD with momentum or AdamW. Norms and biases get no weight decay when `decay_norms` is false."""

    name: Literal["sgd", "adamw"] = "sgd"
    lr: Annotated[float, Field(gt=0)] = 0.01
    momentum: Fraction = 0.9
    nesterov: bool = False
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    decay_norms: bool = True


class ScheduleConfig(Part):
    """Learning rate against the global step: linear warm-up, then cosine to `final` times the base rate, or constant."""

    name: Literal["cosine", "constant"] = "cosine"
    warmup_epochs: Annotated[float, Field(ge=0)] = 0
    final: Fraction = 0.0


class TrainConfig(Part):
    """The fit loop."""

    epochs: Annotated[int, Field(ge=0)] = 25
    batch_size: Positive = 32
    """Global batch size, whatever the number of devices."""
    micro_batch: Positive | None = None
    """Samples per forward pass; gradients of a batch are accumulated. None: the whole batch."""
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    label_smoothing: Fraction = 0.0
    clip_grad: Annotated[float, Field(gt=0)] | None = None
    """Maximum gradient norm."""
    amp: Literal["off", "bf16", "fp16"] = "off"
    workers: Annotated[int, Field(ge=0)] = 2
    """Loader processes; their number changes no result."""
    checkpoint_minutes: Annotated[float, Field(gt=0)] = 10
    """state.pt is also written within an epoch this often."""
    selection: Literal["last", "val", "test"] = "last"
    """Which epoch's weights are the run's: `val` needs `data.validation`; `test` exists only to repeat a paper that did it."""
    refit: bool = False
    """After choosing the epoch on val, train on all of train for that many epochs."""


# --------------------------------------------------------------------------------------------------------- evaluation
class EvalConfig(Part):
    """Views of one sample and how their scores become one."""

    clips: Positive = 1
    """Temporal clips, spread evenly; one is the centre clip."""
    crops: Literal[1, 3] = 1
    """Spatial crops: 1 centre, or 3 along the long side."""
    average: Literal["prob", "logit"] = "prob"
    """Mean of softmax outputs, or of logits before softmax; both are stored, this one is scored."""
    batch_size: Positive = 32
    """Views per forward pass."""

    @property
    def views(self) -> int:
        """Views of one sample."""
        return self.clips * self.crops


class ExpectConfig(Part):
    """The published number that this recipe is to reproduce, stated before the run."""

    value: Annotated[float, Field(ge=0, le=100)]
    metric: str = "top1"
    split: str = ""
    margin: Annotated[float, Field(gt=0)] = 2.0
    """Points below the published value that still count as reproduced."""
    source: str
    note: str = ""


class Recipe(Part):
    """One training and evaluation setting, complete."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    description: str = ""
    family: Literal[
        "3d-cnn", "cnn-lstm", "image-cnn", "skeleton", "two-stream", "transformer", "frame-baseline", "pose-image"
    ]
    data: DataConfig
    input: InputConfig
    model: ModelConfig
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()
    expect: tuple[ExpectConfig, ...] = ()

    @model_validator(mode="after")
    def _val_exists(self) -> Recipe:
        if self.train.selection == "val" and self.data.validation is None:
            raise ValueError("train.selection: val needs data.validation (share of training groups to hold out)")
        if self.train.refit and self.train.selection != "val":
            raise ValueError("train.refit needs train.selection: val")
        return self

    @model_validator(mode="after")
    def _clips_fit(self) -> Recipe:
        clip, clips = self.input.clip, self.eval.clips
        if clip.uniform and clip.uniform.n != clips:
            raise ValueError(f"input.clip.uniform.n: {clip.uniform.n} is as many clips, but eval.clips is {clips}")
        if clip.whole and clips > 1:
            raise ValueError(f"eval.clips: {clips}, but a whole clip spans its range, so there is only one")
        return self


# ------------------------------------------------------------------------------------------------------------ loading
def load_recipe(
    path: Path, overrides: Iterable[str] = (), *, known: Mapping[str, Iterable[str]] | None = None
) -> Recipe:
    """Read a recipe and apply `section.key=value` overrides (values are YAML).

    `known` maps `data.dataset` and `model.name` to the names that exist; api hands them in, so that a typo is found here,
    with the nearest right name. Raises RecipeError that lists every problem at once, by dotted path.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"cannot read recipe {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(raw, dict):
        raise RecipeError(
            f"{path}: expected a mapping with data, input, model, train, eval; found {type(raw).__name__}"
        )
    raw.setdefault("name", path.stem)
    for override in overrides:
        _apply(raw, override)
    problems: list[str] = []
    recipe: Recipe | None = None
    try:
        recipe = Recipe.model_validate(raw)
    except ValidationError as error:
        problems += [_explain(item) for item in error.errors()]
    for dotted, names in (known or {}).items():
        value = _dig(raw, dotted)
        if isinstance(value, str) and ":" not in value and value not in set(names):
            problems.append(f"{dotted}: there is no {value!r}{_nearest(value, names)}")
    if problems or recipe is None:
        listed = "\n".join(f"  {problem}" for problem in sorted(problems))
        raise RecipeError(f"{path} has {len(problems)} problem{'s' if len(problems) != 1 else ''}:\n{listed}")
    return recipe


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as YAML, every default written out."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def differing_keys(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted `key: old -> new` lines of two resolved recipes."""
    lines: list[str] = []
    for key in dict.fromkeys([*old, *new]):
        a, b = old.get(key), new.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            lines += differing_keys(a, b, f"{prefix}{key}.")
        elif a != b:
            lines.append(f"{prefix}{key}: {a!r} -> {b!r}")
    return lines


def _apply(raw: dict[str, Any], override: str) -> None:
    dotted, separator, text = override.partition("=")
    if not separator or not dotted:
        raise RecipeError(f"--set {override!r}: expected section.key=value, for example train.epochs=2")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {override!r}: the value is not valid YAML: {error}") from None
    node = raw
    *parents, last = dotted.split(".")
    for parent in parents:
        child = node.get(parent)
        if child is None:
            child = node[parent] = {}
        if not isinstance(child, dict):
            raise RecipeError(f"--set {override!r}: {parent} is a value, not a section")
        node = child
    node[last] = value


def _dig(raw: Mapping[str, Any], dotted: str) -> Any:
    node: Any = raw
    for part in dotted.split("."):
        if not isinstance(node, Mapping):
            return None
        node = node.get(part)
    return node


def _explain(item: Mapping[str, Any]) -> str:
    path = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"{path}: unknown key{_nearest(str(item['loc'][-1]), _keys_at(item['loc'][:-1]))}"
    if item["type"] == "missing":
        return f"{path}: missing"
    message = str(item["msg"]).removeprefix("Value error, ")
    found = "" if isinstance(item.get("input"), (dict, BaseModel)) else f" (found {item.get('input')!r})"
    return f"{path or 'recipe'}: {message}{found}"


def _keys_at(location: Iterable[Any]) -> list[str]:
    """The legal keys of the section at `location`, following the schema."""
    model: Any = Recipe
    for part in location:
        annotation = (
            model.model_fields[part].annotation if isinstance(part, str) and part in model.model_fields else None
        )
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        model = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), model)
    return list(model.model_fields)


def _nearest(value: str, names: Iterable[str]) -> str:
    ordered = sorted(names)
    close = difflib.get_close_matches(value, ordered, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there are {', '.join(ordered[:12])}{', ...' if len(ordered) > 12 else ''}" if ordered else ""
