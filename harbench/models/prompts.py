"""A classification layer made of words: `model.prompts`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from harbench.errors import RecipeError, WeightsError, damage
from harbench.files import expanded
from harbench.models.hubs import check_hub, fetched, hub_of, is_published, tokenizer_of
from harbench.models.weights import source_tensors
from harbench.recipe import ModelConfig

log = logging.getLogger(__name__)


def write_prompts(model: nn.Module, config: ModelConfig, words: Sequence[Sequence[str]]) -> None:
    """Make the classification layer of `model` of `config.prompts`, in which each class has its `words`.

    Raises:
        RecipeError: the model has no text tower. WeightsError: weights or tokenizer cannot be had, or do not fit.
    """
    from harbench.models.video_text import TOWERS, class_vectors

    if config.name not in TOWERS:
        raise RecipeError(f"model.prompts needs a model with a text tower ({', '.join(TOWERS)}), found {config.name}")
    sentences = [[prompt.format(word) for prompt in config.prompts for word in each] for each in words]
    log.info("classes in words: %s", "; ".join(each[0] for each in sentences[:3]))
    tokenizer = _tokenizer(_tokenizer_file(config))
    vectors = class_vectors(
        TOWERS[config.name](**config.args),
        source_tensors(config)[0],
        lambda text: tokenizer.encode(text.lower()).ids,  # as all of these models were trained
        sentences,
    )
    model.classifier.weight.data.copy_(vectors)  # type: ignore[union-attr,operator]


def check_prompts(config: ModelConfig) -> None:
    """Raise the WeightsError that `write_prompts` would raise for want of a tokenizer; nothing is downloaded."""
    if is_published(str(config.weights)):
        check_hub(tokenizer_of(hub_of(config)))
    else:
        _tokenizer_file(config)


def _tokenizer_file(config: ModelConfig) -> Path:
    """The tokenizer.json of `config.weights`: from the same hub, or beside the file. Raises WeightsError."""
    if is_published(str(config.weights)):
        return fetched(tokenizer_of(hub_of(config)))
    path = expanded(str(config.weights)).parent / "tokenizer.json"
    if not path.is_file():
        raise WeightsError(
            f"model.prompts: expected the model's tokenizer beside its weights, found no {path.absolute()}"
        )
    return path


def _tokenizer(path: Path):  # type: ignore[no-untyped-def]  # the package is an extra
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - the package raises nothing narrower
        raise WeightsError(f"{path} cannot be read as a tokenizer ({damage(error)}). Fetch it again") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
