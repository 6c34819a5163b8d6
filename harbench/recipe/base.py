"""What every part of a recipe has in common."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Amp = Annotated[
    Literal["off", "bf16", "fp16"], BeforeValidator(lambda value: "off" if value is False else value)
]  # YAML reads a bare `off` as false


class Part(BaseModel):
    """Base of every part: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
