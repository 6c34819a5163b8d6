"""How a model is trained: optimizer, schedule, mixing, loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from harbench.recipe.base import Amp, Fraction, Part, Positive

Alpha = Annotated[float, Field(ge=0)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Factor = Annotated[float, Field(gt=0)]


class OptimizerConfig(Part):
    """SGD with momentum, Adam or AdamW, and how the rate differs between layers."""

    name: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: Annotated[float, Field(gt=0)] = 0.01
    momentum: Fraction = 0.9
    nesterov: bool = False
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    decay_norms: bool = True
    """False: norms and biases get no weight decay."""
    lr_scale: Mapping[str, Factor] = Field(default_factory=dict)
    """Prefix of parameter names -> factor of the rate, e.g. `{backbone: 0.1}`; the longest matching prefix holds."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Factor of the rate from each layer, in most networks a block, to the one before it; the head's is 1.

    As in BEiT (arXiv:2106.08254); 1: the same rate everywhere.
    """

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> OptimizerConfig:
        if self.nesterov and (self.name != "sgd" or not self.momentum):
            raise ValueError("nesterov needs name: sgd and a momentum above 0")
        return self


class ScheduleConfig(Part):
    """Learning rate against the global step: linear warm-up, then the named curve."""

    name: Literal["cosine", "constant", "step", "plateau"] = "cosine"
    warmup_epochs: Annotated[float, Field(ge=0)] = 0
    final: Fraction = 0.0
    """Cosine: the last rate as a share of the base rate; plateau: the lowest."""
    milestones: tuple[Positive, ...] = ()
    """Step: after these epochs the rate is multiplied by `gamma`."""
    gamma: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Step and plateau: the factor."""
    patience: Positive = 5
    """Plateau: losses in a row, none of them lower, before the rate is multiplied by `gamma`."""
    watch: Literal["val", "train"] = "val"
    """Plateau: the loss of every validation, or of every epoch of training, which holds out nothing."""

    @model_validator(mode="after")
    def _curve_is_complete(self) -> ScheduleConfig:
        if (self.name == "step") != bool(self.milestones):
            raise ValueError("milestones and name: step need each other, e.g. {name: step, milestones: [30, 60]}")
        if self.watch == "train" and self.name != "plateau":
            raise ValueError("watch: train needs name: plateau; the other schedules look at no loss")
        if self.name == "plateau" and self.warmup_epochs:
            raise ValueError("warmup_epochs: not with name: plateau")
        if self.milestones and self.warmup_epochs >= min(self.milestones):
            raise ValueError(f"warmup_epochs: {self.warmup_epochs:g} must end before the first of milestones")
        return self

    @property
    def needs_val(self) -> bool:
        """Whether the rate depends on losses on held-out samples."""
        return self.name == "plateau" and self.watch == "val"


class TrainConfig(Part):
    """The fit loop."""

    epochs: Annotated[int, Field(ge=0)] = 25
    """Length of the schedule."""
    stop_epoch: Positive | None = None
    """Stop after this many epochs of the schedule; None: train all `epochs`."""
    batch_size: Positive = 32
    """Global batch size, whatever the number of devices."""
    micro_batch: Positive | None = None
    """Samples per forward pass of a device; gradients of a batch are accumulated. None: all of the device's share."""
    clips_per_epoch: Positive = 1
    """Clips of every training sample in an epoch, each with draws of its own."""
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    label_smoothing: Fraction = 0.0
    mixup: Alpha = 0.0
    """Pairs of a batch are blended by a share from Beta(alpha, alpha) (arXiv:1710.09412); 0: not."""
    cutmix: Alpha = 0.0
    """Pairs of a batch swap a box that stands still in the clip (arXiv:1905.04899); with `mixup`, every other batch."""
    clip_grad: Annotated[float, Field(gt=0)] | None = None
    """Maximum gradient norm."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay a step of an exponential moving average of the weights, which is then what is validated and kept."""
    freeze: tuple[str, ...] = ()
    """Prefixes of parameter names that are not trained; their modules stay in evaluation mode."""
    bn: Literal["train", "frozen", "sync"] = "train"
    """Batch norm by the batch, by its running statistics (its scale and shift still learn), or by all devices' batch."""
    amp: Amp = "off"
    """Precision of automatic mixed precision: off (float32), bf16 (bfloat16) or fp16 (float16 with gradient scaling)."""
    channels_last: bool = False
    """Channels innermost in memory, which tensor cores prefer; changes results by rounding only."""
    compile: bool = False
    """`torch.compile` the model."""
    deterministic: bool = True
    """Deterministic kernels; false lets PyTorch choose the fastest, and the run is recorded as not exact."""
    workers: Annotated[int, Field(ge=0)] = 2
    """Loader processes of a device; their number changes no result."""
    checkpoint_minutes: Annotated[float, Field(gt=0)] = 10
    """state.pt is also written within an epoch this often."""
    selection: Literal["last", "val", "test"] = "last"
    """Which epoch's weights are the run's: `val` needs `data.validation`; `test` exists only to repeat a paper that did it."""
    refit: bool = False
    """After choosing the epoch on val, train on all of train for that many epochs of the same schedule."""
    val_every: Positive = 1
    """Epochs from one validation to the next; the last epoch always has one."""
    early_stopping: Positive | None = None
    """Validations without a higher val top-1 after which training ends; None: never."""
    trackers: tuple[Literal["wandb", "mlflow"], ...] = ()
    """Also tell these of every epoch; TensorBoard files are always written."""

    @model_validator(mode="after")
    def _goes_together(self) -> TrainConfig:
        if (self.mixup or self.cutmix) and 1 in (self.batch_size, self.micro_batch):
            raise ValueError("mixup and cutmix blend pairs: batch_size and micro_batch must be at least 2")
        if self.stop_epoch is not None and self.stop_epoch > self.epochs:
            raise ValueError(f"stop_epoch: {self.stop_epoch} is after the last of epochs: {self.epochs}")
        rates = self.optimizer.lr_scale or self.optimizer.layer_decay < 1
        if self.schedule.name == "cosine" and self.schedule.final and rates:
            raise ValueError("schedule.final of a cosine is one rate: not with optimizer.lr_scale or layer_decay")
        return self

    @property
    def last_epoch(self) -> int:
        """The epoch after which training ends."""
        return self.stop_epoch or self.epochs

    @property
    def never_reached(self) -> tuple[str, ...]:
        """What is set for after the last epoch, in words: a fault, or a training cut short on purpose."""
        late = [each for each in self.schedule.milestones if each >= self.last_epoch]
        said = [f"schedule.milestones: {', '.join(map(str, late))}"] * bool(late)
        said += [f"schedule.warmup_epochs: {self.schedule.warmup_epochs:g}"] * (
            self.schedule.warmup_epochs > self.last_epoch
        )
        return tuple(said) if self.epochs else ()
