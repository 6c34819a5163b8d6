"""How a model is trained: optimiser, schedule, loop."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from harbench.recipe.base import Fraction, Part, Positive


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
