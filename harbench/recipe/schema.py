"""A recipe: data, input, model, training, evaluation, and what number it is expected to give; or the runs that it fuses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from harbench.recipe.base import Amp, Part, Positive
from harbench.recipe.inputs import DataConfig, InputConfig
from harbench.recipe.training import TrainConfig
from harbench.records import SUPERVISED


class ModelConfig(Part):
    """A model is a plain function: `name` of one under `models/`, or `module:function`, or `file.py:function`."""

    name: str
    weights: str | None = None
    """`kinetics400` or `imagenet` (torchvision's or timm's hub; `imagenet_v1`: torchvision's first), `hf:owner/name[/file]`
    (Hugging Face), or a link (https://) or path to .safetensors / .pth; None: from scratch."""
    init_from: str | None = None
    """Finished run whose weights training starts from, instead of `weights`: a folder, also by its place under `runs`."""
    strip_prefix: str = ""
    """Taken off the tensor names of `weights`."""
    key_map: Mapping[str, str] = Field(default_factory=dict)
    """Regular expression -> replacement, applied in order to the tensor names of `weights`."""
    weights_classes: str | None = None
    """Order of the classes in `weights`: `sorted` (as of folders), or a text file with one a line; None: as stated in it."""
    head: Literal["auto", "keep", "replace"] = "auto"
    """The classification layer of `weights`: kept if it knows our classes, has to be kept, or trained anew."""
    args: Mapping[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the function."""
    probe: Literal["linear", "knn", "attentive"] | None = None
    """The body stays as its weights are, and only what classifies its features is made: logistic regression, the 20 nearest
    training samples, or one learned query over the frames. None: everything is trained."""

    prompts: tuple[str, ...] = ()
    """Sentences with {} for a class in words (its lines of `splits/*/prompts.txt`, else its name): the classification layer
    of a video-text model is made of them. Without training the run is zero-shot."""

    @model_validator(mode="after")
    def _one_source(self) -> ModelConfig:
        if self.weights is not None and self.init_from is not None:
            raise ValueError("give weights or init_from, not both")
        for pattern in self.key_map:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"key_map: {pattern!r} is no regular expression: {error}") from None
        if self.head == "keep" and self.weights is None and self.init_from is None:
            raise ValueError("head: keep needs weights or init_from")
        if any(prompt.count("{}") != 1 for prompt in self.prompts):
            raise ValueError(f"prompts: every sentence needs {{}} once, for the class; found {list(self.prompts)}")
        if self.prompts and (self.weights is None or self.probe):
            raise ValueError("prompts needs weights, whose text tower reads them, and no probe")
        return self

    def untrained(self) -> ModelConfig:
        """The same network, its weights drawn anew."""
        return self.model_copy(update={"weights": None, "init_from": None, "head": "auto"})


class EvalConfig(Part):
    """Views of one sample and how their scores become one."""

    clips: Positive = 1
    """Temporal clips, spread evenly; one is the center clip."""
    crops: Literal[1, 3] = 1
    """Spatial crops: 1 center, or 3 along the long side."""
    average: Literal["prob", "logit"] = "prob"
    """Mean of softmax outputs, or of logits before softmax; both are stored, this one is scored."""
    batch_size: Positive = 32
    """Views per forward pass."""
    amp: Amp = "off"
    """As `train.amp`, for validation and evaluation."""

    @property
    def views(self) -> int:
        """Views of one sample."""
        return self.clips * self.crops


class ExpectConfig(Part):
    """The published number that this recipe is to reproduce, stated before the run."""

    value: Annotated[float, Field(ge=0, le=100)]
    metric: Literal["top1", "top5", "mean_class", "mAP", "mAP_voc", "mAP_11", "clip_top1"] = "top1"
    split: str = ""
    margin: Annotated[float, Field(gt=0)] | None = None
    """Points below the published value that still count as reproduced; None: 1.0 on UCF and NTU, 1.5 on HMDB, else 2.0."""
    source: str
    note: str = ""


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
Family = Literal[
    "3d-cnn", "cnn-lstm", "image-cnn", "skeleton", "two-stream", "transformer", "frame-baseline", "pose-image"
]


class Recipe(Part):
    """One training and evaluation setting, complete."""

    name: Name
    description: str = ""
    family: Family
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
        needs_val = {"train.early_stopping": self.train.early_stopping is not None}
        needs_val["train.schedule.name: plateau"] = self.train.schedule.needs_val
        for setting, asked in needs_val.items():
            if asked and self.data.validation is None:
                raise ValueError(f"{setting} needs data.validation (share of training groups to hold out)")
        if self.train.refit and self.train.schedule.needs_val:
            raise ValueError("train.refit trains without val, which train.schedule.name: plateau needs")
        if self.model.probe and self.data.validation is not None:
            raise ValueError(
                "model.probe chooses on groups of train that it holds out itself: leave out data.validation"
            )
        if self.data.base_to_novel and not self.model.prompts:
            raise ValueError("data.base_to_novel needs model.prompts: novel classes are known by their words alone")
        if self.train.cutmix and self.data.cache.stream == "pose":
            raise ValueError("train.cutmix cuts images, and data.cache.stream is pose")
        if self.eval.crops > 1 and self.data.cache.stream == "pose":
            raise ValueError(f"eval.crops: {self.eval.crops} places of a picture, and data.cache.stream is pose")
        if self.input.whole_tracks and self.data.cache.stream != "pose" and not self.input.with_pose:
            raise ValueError(
                f"input.center: spine and motion among input.features are of joints, not of {self.data.cache.stream}"
            )
        if self.input.with_pose and self.data.cache.stream != "rgb":
            raise ValueError(f"input.with_pose puts joints beside pictures, not {self.data.cache.stream}")
        if self.input.with_pose and self.input.augment.rand_augment:
            raise ValueError(
                "input.with_pose: augment.rand_augment moves the picture, and the joints beside it would stand"
            )
        if self.input.with_pose and (self.train.mixup or self.train.cutmix):
            raise ValueError("input.with_pose: train.mixup and cutmix blend pictures, and joints cannot be blended")
        return self

    @model_validator(mode="after")
    def _clips_fit(self) -> Recipe:
        clip, clips = self.input.clip, self.eval.clips
        if clip.uniform and clip.uniform.n != clips:
            raise ValueError(f"input.clip.uniform.n: {clip.uniform.n} is as many clips, but eval.clips is {clips}")
        if clip.whole and clip.whole.draw == "resize" and self.data.cache.stream != "pose":
            raise ValueError("input.clip.whole.draw: resize interpolates joints, so data.cache.stream must be pose")
        if clip.whole and clips > 1:
            raise ValueError(f"eval.clips: {clips}, but a whole clip spans its range, so there is only one")
        return self

    @property
    def fits(self) -> bool:
        """Whether anything is made of training samples."""
        return bool(self.train.epochs or self.model.probe)

    @property
    def kind(self) -> str:
        """Of the comparability key: `supervised`, `frozen-probe`, `zero-shot`, `4-shot`, or `[4-shot ]base-to-novel`."""
        if self.model.prompts and not self.fits:
            return "zero-shot"
        shots = [f"{self.data.shots}-shot"] * bool(self.data.shots)
        if shots or self.data.base_to_novel:
            return " ".join([*shots, *["base-to-novel"] * self.data.base_to_novel])
        return "frozen-probe" if self.model.probe else SUPERVISED

    @property
    def idle(self) -> tuple[str, ...]:
        """Settings without effect, each in words with the reason."""
        augment, stream, epochs = self.input.augment, self.data.cache.stream, self.train.last_epoch
        colors = ("brightness", "contrast", "saturation", "hue", "gray")
        ignored = {"rgb": (), "flow": (*colors, "rand_augment"), "pose": (*colors, "rand_augment", "erase")}[stream]
        if stream != "pose" and not self.input.with_pose:
            ignored = (*ignored, "rotate", "tilt", "noise")
        found = [name for name in ignored if getattr(augment, name)]
        return (
            *(f"input.augment.{name}: {getattr(augment, name):g}, but data.cache.stream is {stream}" for name in found),
            *(f"train.{late}, but training ends after epoch {epochs}" for late in self.train.never_reached),
        )


class FusionData(Part):
    """What all of the runs were made on."""

    dataset: str
    split: str = ""
    """Official split; empty: the data set's default."""


class Member(Part):
    """One of the runs."""

    recipe: str
    """Name of a recipe (with `+tag` of a variant), whose run on the same split with the same seed is meant; or the folder
    of a run, as `harbench report` shows it."""
    weight: Annotated[float, Field(gt=0)] = 1.0


class Fusion(Part):
    """Scores of finished runs, weighted and added."""

    name: Name
    description: str = ""
    family: Family
    data: FusionData
    fuse: Annotated[tuple[Member, ...], Field(min_length=2)]
    level: Literal["probabilities", "logits"] = "probabilities"
    """What is added: softmax outputs, or what enters softmax, each already averaged over the views of a sample."""
    expect: tuple[ExpectConfig, ...] = ()
