"""A recipe that trains nothing: it names finished runs of the same samples and adds up their scores (late fusion).

Two-stream networks (Simonyan and Zisserman, arXiv:1406.2199) and joint, bone and motion skeletons (Shi et al.,
arXiv:1912.06971) are fused like this.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from harbench.recipe.base import Part
from harbench.recipe.schema import ExpectConfig, Family, Name


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
