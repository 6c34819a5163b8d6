"""A recipe's model section -> a network: found, its arguments checked, its weights put in and held against the input."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from harbench.errors import HarbenchWarning, RecipeError, WeightsError, did_you_mean
from harbench.frames.streams import MEAN_STD, STREAMS
from harbench.models.find import find_model
from harbench.models.hubs import hub_of, is_published
from harbench.models.probe import with_probe
from harbench.models.weights import head_name, load_weights
from harbench.recipe import ModelConfig, Recipe

UNBUILDABLE = (TypeError, ValueError, RuntimeError, ArithmeticError, AssertionError)
"""What models and torch raise for sizes that do not go together, on being built and on their first input."""


def build_model(config: ModelConfig, num_classes: int, *, classes: Sequence[str] = ()) -> nn.Module:
    """Build the model on the CPU, its weights drawn from torch's generator, then put in the weights it names, if any.

    `classes` are the class keys in order: from a file that names its classes, a classification layer is taken over only
    if they are these. Raises RecipeError for an unknown name or wrong `args`, WeightsError for weights that are not to
    be had.
    """
    function = find_model(config.name)
    _check_args(function, config)
    try:
        model = function(num_classes, **config.args)
    except UNBUILDABLE as error:
        words = str(error) or type(error).__name__
        raise RecipeError(f"model {config.name} cannot be built with args {dict(config.args)}: {words}") from error
    if not isinstance(model, nn.Module):
        raise RecipeError(f"model.name {config.name!r}: expected a torch.nn.Module, found {type(model).__name__}")
    if config.weights is not None or config.init_from is not None:
        load_weights(model, config, classes)
    if config.probe is not None:
        if not (layer := head_name(model)):
            raise RecipeError(
                f"model.probe: {config.name} has neither a linear layer nor a convolution that classifies"
            )
        return with_probe(model, layer, config.probe, num_classes)
    return model


def check_normalization(recipe: Recipe) -> None:
    """Warn where frames are to be normalized otherwise than those which the published weights were trained on.

    Flow is left out: no published weights but those of pictures exist for it, and its values are others.
    """
    config = recipe.model
    if config.weights is None or not is_published(config.weights) or not STREAMS[recipe.data.cache.stream].colors:
        return
    try:
        hub, ours = hub_of(config), recipe.input.normalize
    except WeightsError:
        return  # told where the weights are looked for
    if hub.mean_std in (None, MEAN_STD[ours]):
        return
    word = next((name for name, known in MEAN_STD.items() if known == hub.mean_std), None)
    mean, deviation = hub.mean_std
    warnings.warn(
        f"input.normalize: {ours}, but the {hub.what} were trained on frames with mean {mean} and deviation {deviation}: "
        + (f"--set input.normalize={word}" if word else "input.normalize has no word for these"),
        HarbenchWarning,
        stacklevel=2,
    )


def _check_args(function: Callable[..., Any], config: ModelConfig) -> None:
    """RecipeError naming every wrong or missing key of `model.args`, and what the function takes."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    legal = {parameter.name: parameter for parameter in parameters}
    problems = []
    for key in config.args:
        if key not in legal:
            problems.append(f"model.args.{key}: unknown{did_you_mean(key, legal)}")
    for key, parameter in legal.items():
        if parameter.default is parameter.empty and key not in config.args:
            problems.append(f"model.args.{key}: missing")
    if problems:
        takes = ", ".join(_shown(parameter) for parameter in parameters) or "no arguments"
        raise RecipeError("\n".join([*problems, f"model {config.name} takes {takes}"]))


def _shown(parameter: inspect.Parameter) -> str:
    return parameter.name if parameter.default is parameter.empty else f"{parameter.name}={parameter.default!r}"
