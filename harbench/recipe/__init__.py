"""A recipe: one training and evaluation setting. Frozen pydantic models; the parts are the small configs that functions take.

A component never sees a whole recipe, only its own part. `load_recipe` reports every problem at once, by dotted path.
"""

from __future__ import annotations

from harbench.recipe.inputs import (
    AugmentConfig,
    CacheConfig,
    ClipConfig,
    DataConfig,
    Dense,
    InputConfig,
    Segments,
    TrainSubset,
    Uniform,
    Whole,
)
from harbench.recipe.load import differing_keys, dump_recipe, load_any, load_document, load_recipe, load_resolved
from harbench.recipe.schema import EvalConfig, ExpectConfig, Fusion, FusionData, Member, ModelConfig, Recipe
from harbench.recipe.training import OptimizerConfig, ScheduleConfig, TrainConfig

__all__ = [
    "AugmentConfig",
    "CacheConfig",
    "ClipConfig",
    "DataConfig",
    "Dense",
    "EvalConfig",
    "ExpectConfig",
    "Fusion",
    "FusionData",
    "InputConfig",
    "Member",
    "ModelConfig",
    "OptimizerConfig",
    "Recipe",
    "ScheduleConfig",
    "Segments",
    "TrainConfig",
    "TrainSubset",
    "Uniform",
    "Whole",
    "differing_keys",
    "dump_recipe",
    "load_any",
    "load_document",
    "load_recipe",
    "load_resolved",
]
