"""What every shipped recipe asks for: one training step of a batch of two, and one view in evaluation, from made-up media.

At the smallest legal size by default, at the recipe's own with `HARBENCH_CONTRACT=full` (`make contract`). Recipes of the
same network on the same input, which differ in data, training or weights, are tried once, under the first one's name.
"""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import TINY_ARGS, tiny
from torch.nn import functional as F

from harbench.datasets.tables import load_spec
from harbench.frames.clips import Batch, Beside, ClipDataset, evaluation_keys, training_keys
from harbench.frames.loader import load_each, model_inputs
from harbench.frames.streams import normalize
from harbench.models.build import build_model
from harbench.recipe import EvalConfig, Recipe, load_recipe
from harbench.records import MediaInfo, Sample
from harbench.runs.record import pose_shape as poses_of

FULL = os.environ.get("HARBENCH_CONTRACT") == "full"
CLASSES = 5


class Noise:
    """A frame cache in which every media is noise of the asked shape."""

    def __init__(self, shape: tuple[int, ...], dtype: type) -> None:
        self.shape, self.dtype = shape, dtype

    def __contains__(self, media: object) -> bool:
        return True

    def info(self, media: str) -> MediaInfo:
        return MediaInfo(frames=160, fps=25.0, width=self.shape[1], height=self.shape[0])

    def read(self, media: str, indices: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng(len(media))
        if self.dtype == np.uint8:
            return rng.integers(0, 256, (len(indices), *self.shape), np.uint8)
        return rng.normal(size=(len(indices), *self.shape)).astype(self.dtype)


def shrunk(recipe: Recipe) -> Recipe:
    """With the model's smallest legal input and no more frames than that; joints and bodies stay."""
    name, document = recipe.model.name, recipe.model_dump(mode="json")
    args, shape = tiny(name)
    if recipe.data.cache.stream == "pose":
        args = {}
    else:
        document["input"] |= {"size": shape[-1], "resize": None}
    frames = 16 if recipe.data.cache.stream == "pose" else shape[1]
    for clip in filter(None, document["input"]["clip"].values()):
        if isinstance(clip, dict):
            for key in {"num_frames", "n"} & clip.keys():
                clip[key] = min(clip[key], frames)
    if "frames" in TINY_ARGS.get(name, {}) or recipe.model.args.get("frames"):
        args |= {"frames": min(frames, recipe.input.clip.frames_per_clip)}
    document["model"]["args"] |= args
    if document["input"]["clip"]["uniform"]:
        document["eval"]["clips"] = document["input"]["clip"]["uniform"]["n"]
    return Recipe.model_validate(document)


def pose_shape(recipe: Recipe) -> tuple[int, int]:
    """C and V of the poses that a recipe reads, else zeros."""
    reads = recipe.data.cache.stream == "pose" or recipe.input.with_pose
    return poses_of(load_spec(recipe.data.dataset)) if reads else (0, 0)


def combination(recipe: Recipe) -> str:
    """The network, and what it is given."""
    args = {key: value for key, value in recipe.model.args.items() if key != "dropout"}
    given = recipe.input
    asked = [recipe.model.name, args, recipe.data.cache.stream, pose_shape(recipe), given.bodies, given.with_pose]
    return json.dumps([*asked, given.clip.frames_per_clip, given.size], sort_keys=True)


def distinct() -> list[Recipe]:
    """One recipe a combination, the first by name; those that only fuse the scores of others have no network."""
    found: dict[str, Recipe] = {}
    for path in sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml")):
        if "\nfuse:" not in path.read_text(encoding="utf-8"):
            recipe = load_recipe(path) if FULL else shrunk(load_recipe(path))
            found.setdefault(combination(recipe), recipe)
    return list(found.values())


@pytest.mark.parametrize("recipe", distinct(), ids=lambda recipe: recipe.name)
def test_one_step_and_one_view(recipe: Recipe) -> None:
    channels, joints = pose_shape(recipe)
    if recipe.data.cache.stream == "pose":
        cache = Noise((recipe.input.bodies, joints, channels), np.float32)
    else:
        side = recipe.input.size * 8 // 7 + 1
        cache = Noise((side, side, 2 if recipe.data.cache.stream == "flow" else 3), np.uint8)
    beside = Noise((recipe.input.bodies, joints, channels), np.float32) if recipe.input.with_pose else None
    rows = [Sample(f"s{i}", i % CLASSES, f"g{i}", "train", f"m{i}") for i in range(2)]
    torch.manual_seed(0)
    model = build_model(recipe.model.model_copy(update={"weights": None, "init_from": None}), CLASSES)
    before = [parameter.detach().clone() for parameter in model.parameters()]

    def inputs(batch: Batch) -> tuple[torch.Tensor, ...]:
        return model_inputs(batch, torch.device("cpu"), partial(normalize, config=recipe.input))

    train = ClipDataset(rows, cache, recipe.input, seed=0, views=None, beside=Beside(beside))
    batch = next(load_each(train, [training_keys(2, 0, 0).tolist()]))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    loss = F.cross_entropy(model.train()(*inputs(batch)), batch.targets)
    loss.backward()
    optimizer.step()
    assert loss.isfinite()
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))

    views = EvalConfig(clips=recipe.eval.clips)
    test = ClipDataset(rows[:1], cache, recipe.input, seed=0, views=views, beside=Beside(beside))
    view = next(load_each(test, [evaluation_keys(1, test.views)[:1].tolist()]))
    with torch.inference_mode():
        logits = model.eval()(*inputs(view))
    assert logits.shape == (1, CLASSES)
    assert logits.isfinite().all()
