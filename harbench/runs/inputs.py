"""What a run reads: the split table, the open cache, the clip data sets, and what is in the way of having them."""

from __future__ import annotations

import hashlib
import logging
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from harbench.errors import CacheError, MediaError, RunError, WeightsError
from harbench.files import expanded
from harbench.records import DatasetSpec, FrameCache, Sample, SplitTable, Subset
from harbench.runs.seen import Seen, media_id, seen_before

if TYPE_CHECKING:
    from harbench.frames.cache import MappedCache
    from harbench.frames.clips import ClipDataset
    from harbench.recipe import CacheConfig, EvalConfig, InputConfig, Recipe, TrainSubset

_LOG = logging.getLogger(__name__)
CACHES = "caches.txt"
"""Names of the caches that a run reads, in its folder: it is resumed with the same ones."""


@dataclass(frozen=True)
class Inputs:
    """A recipe's data, opened."""

    recipe: Recipe
    spec: DatasetSpec
    table: SplitTable
    official_classes: int
    """Classes of the whole data set, before the recipe chose some."""
    cache: FrameCache
    caches: tuple[str, ...]
    """Folder names of the caches that are read: the recipe's, then the poses beside it."""
    trained_on: tuple[str, ...]
    """The media (`seen.media_id`) of every sample that the run trains on."""
    seen: Seen
    """These, and what the run that the recipe starts from has seen (`with_seen`)."""
    train: ClipDataset
    val: ClipDataset | None
    """What is scored during training: val with one clip a sample where some is held out, test for a recipe that selects
    on it; else None."""
    all_train: ClipDataset | None
    """Train and val together, for a recipe that trains again on all of it; else None."""
    test: ClipDataset
    read: Callable[[Sequence[Sample], InputConfig, EvalConfig], ClipDataset]
    """Any samples of the data set as this run's test samples are read, with other views or another input."""
    partial: str
    """Why a run on these inputs is not ranked; empty when it is complete."""
    words: Sequence[Sequence[str]]
    """What each class is called in a sentence."""
    novel: tuple[bool, ...] = ()
    """Which classes are novel, of a recipe that goes from base to novel classes."""
    seen_in_test: int = 0
    """How many test samples are of media that the weights had seen before this run."""


def load_table(recipe: Recipe, home: Path, seed: int = 0) -> SplitTable:
    """The recipe's split, reduced to its classes, with `val` carved out of train where it asks for one.

    `seed` draws the training samples of a k-shot recipe.
    """
    from harbench.datasets.tables import carve_validation, keep_classes, load_spec, load_split, novel_classes

    table = load_split(recipe.data.dataset, recipe.data.split, home)
    if recipe.data.classes:
        table = keep_classes(table, recipe.data.classes)
    if recipe.data.validation is not None:
        table = carve_validation(table, load_spec(recipe.data.dataset, home), recipe.data.validation)
    if recipe.data.base_to_novel:
        novel = novel_classes(table, home)
        kept = tuple(sample for sample in table.samples if sample.subset == "test" or not novel[sample.target])
        table = replace(table, samples=kept)
    if recipe.data.train_subset is not None:
        table = reduce_train(table, recipe.data.train_subset)
    if recipe.data.shots is not None:
        table = draw_shots(table, recipe.data.shots, seed)
    return table


def draw_shots(table: SplitTable, shots: int, seed: int) -> SplitTable:
    """The table with `shots` training samples a class, drawn by seed and class, each from another group while there are more.

    Test and val are as they were, so that no group of theirs gets into train. A class with fewer keeps all it has.
    """
    groups: dict[int, dict[str, list[Sample]]] = defaultdict(lambda: defaultdict(list))
    for sample in sorted(table.subset("train"), key=lambda sample: sample.sample_id):
        groups[sample.target][sample.group or sample.media].append(sample)
    kept: set[str] = set()
    for target, members in groups.items():
        draw = random.Random(f"{table.dataset}/{seed}/{table.classes[target].key}")
        order = [draw.sample(members[name], len(members[name])) for name in draw.sample(sorted(members), len(members))]
        rounds = (sample for each in zip_longest(*order) for sample in each if sample is not None)
        kept |= {sample.sample_id for sample in islice(rounds, shots)}
    return replace(table, samples=tuple(s for s in table.samples if s.subset != "train" or s.sample_id in kept))


def reduce_train(table: SplitTable, config: TrainSubset) -> SplitTable:
    """The table with less in train: of every class the first samples in an order of groups that is the same everywhere.

    A group's place is a hash of its name, so a larger subset holds every smaller one. At least one sample a class stays.
    """

    def place(sample: Sample) -> str:
        return hashlib.sha256(f"{table.dataset}/{sample.group or sample.media}".encode()).hexdigest()

    ordered: dict[int, list[Sample]] = defaultdict(list)
    for sample in sorted(table.subset("train"), key=place):
        ordered[sample.target].append(sample)
    kept = {
        sample.sample_id
        for samples in ordered.values()
        for sample in samples[: config.n or max(1, round((config.fraction or 1) * len(samples)))]
    }
    return replace(table, samples=tuple(s for s in table.samples if s.subset != "train" or s.sample_id in kept))


def spec_of(recipe: Recipe, home: Path) -> DatasetSpec:
    """The data set, with the joints that were found in it where its pose cache is here."""
    import numpy as np

    from harbench.datasets.tables import load_spec
    from harbench.frames.cache import find_cache, open_cache
    from harbench.recipe import CacheConfig

    spec = load_spec(recipe.data.dataset, home)
    if any(spec.pose_shape) or (recipe.data.cache.stream != "pose" and not recipe.input.with_pose):
        return spec
    try:
        cache = open_cache(find_cache(home, spec.name, CacheConfig(stream="pose"), make=""))
        media = next(iter(media for media in load_table(recipe, home).media() if media in cache), None)
        shape = cache.read(media, np.zeros(1, np.int64)).shape if media else (0, 0, 0, 0)
    except CacheError:
        return spec
    return replace(spec, found_joints=(shape[3], shape[2]))


def missing_media(table: SplitTable, cache: FrameCache) -> tuple[str, ...]:
    """Media of the table that the cache does not hold, in official order."""
    return tuple(media for media in table.media() if media not in cache)


def _only(table: SplitTable, subsets: Sequence[Subset]) -> SplitTable:
    """The table with the samples of these subsets alone."""
    return replace(table, samples=tuple(sample for sample in table.samples if sample.subset in subsets))


def prepare_line(recipe: Recipe, cache: CacheConfig | None = None) -> str:
    """The exact command that makes the cache which a recipe needs: that of its data section, or another one."""
    cache = cache or recipe.data.cache
    split = f" --split {recipe.data.split}" if recipe.data.split else ""
    return f"harbench prepare {recipe.data.dataset}{split} {cache.options}"


def open_inputs(
    recipe: Recipe,
    seed: int,
    *,
    home: Path,
    ok_missing: int,
    caches: Sequence[str] = (),
    subsets: Sequence[Subset] = ("train", "val", "test"),
) -> Inputs:
    """Open everything that training and evaluation read; `caches` are those of an unfinished run, by folder name.

    `subsets` are those whose media have to be there.

    Raises:
        CacheError: there is no cache that fits, or more than `ok_missing` media of these subsets are not in it.
    """
    from harbench.datasets.tables import class_words, load_split, novel_classes
    from harbench.frames.cache import warn_of_cut_ranges
    from harbench.frames.clips import Beside, ClipDataset
    from harbench.prepare.boxes import load_boxes
    from harbench.recipe import CacheConfig

    spec = spec_of(recipe, home)
    official = len(load_split(recipe.data.dataset, recipe.data.split, home).classes)
    table = load_table(recipe, home, seed)
    read_of = table if recipe.fits else _only(table, ("test",))  # without training none of train has to be here
    wanted = [recipe.data.cache, *([CacheConfig(stream="pose")] if recipe.input.with_pose else [])]
    names = caches or [""] * len(wanted)
    found = [
        _checked_cache(recipe, _only(read_of, subsets), config, home, ok_missing, name)
        for config, name in zip(wanted, names, strict=True)
    ]
    cache, poses = found[0], found[1] if recipe.input.with_pose else None
    gone = {media for media in table.media() if media not in cache or not (poses is None or media in poses)}
    warn_of_cut_ranges(read_of.samples, cache)
    boxes = load_boxes(home, recipe.data.dataset) if recipe.data.boxes else None

    def read(rows: Sequence[Sample], config: InputConfig, views: EvalConfig | None) -> ClipDataset:
        return ClipDataset(rows, cache, config, seed=seed, views=views, beside=Beside(poses, boxes))

    def clips(rows: Sequence[Sample], views: EvalConfig | None) -> ClipDataset:
        return read(rows, recipe.input, views)

    def cached(subset: Subset) -> tuple[Sample, ...]:
        return tuple(sample for sample in read_of.subset(subset) if sample.media not in gone)

    train_rows = cached("train")
    seen = train_rows + (cached("val") if recipe.train.refit else ())
    test = clips(table.subset("test"), recipe.eval)
    val = clips(cached("val"), validation_views(recipe)) if recipe.data.validation is not None else None
    if not train_rows and recipe.fits and "train" in subsets:
        raise CacheError(
            f"no training sample of {table.dataset} {table.split} is in the cache. Run {prepare_line(recipe)}"
        )
    trained_on = tuple(media_id(spec, sample) for sample in seen)
    return Inputs(
        recipe=recipe,
        spec=spec,
        table=table,
        official_classes=official,
        cache=cache,
        caches=tuple(each.folder.name for each in found),
        trained_on=trained_on,
        seen=Seen(frozenset(trained_on)),
        train=clips(train_rows, None),
        val=test if recipe.train.selection == "test" else val,
        all_train=clips(seen, None) if recipe.train.refit else None,
        test=test,
        read=read,
        novel=tuple(novel_classes(table, home)) if recipe.data.base_to_novel else (),
        words=class_words(table, home) if recipe.model.prompts else (),
        partial="; ".join([*partial_reasons(spec, read_of, official, cache, gone), *_less_training(recipe)]),
    )


def caches_of(folder: Path) -> tuple[str, ...]:
    """The caches that the run in `folder` was begun with; none where that is not known."""
    path = folder / CACHES
    try:
        return tuple(path.read_text(encoding="utf-8").split()) if path.is_file() else ()
    except UnicodeDecodeError as error:
        raise RunError(f"{path} is damaged ({error}); repeat the run with --force") from None


def _checked_cache(
    recipe: Recipe, table: SplitTable, config: CacheConfig, home: Path, ok_missing: int, name: str
) -> MappedCache:
    """The open cache for `config`; CacheError if there is none, or if it lacks too many media."""
    from harbench.frames.cache import find_cache, open_cache
    from harbench.prepare.manifest import known_failures

    line = prepare_line(recipe, config)
    folder = find_cache(home, table.dataset, config, make=line, name=name)
    cache = open_cache(folder)
    missing = missing_media(table, cache)
    if len(missing) > ok_missing:
        why = known_failures(home, table.dataset, folder.name)
        broken = [f"  {media}: {why[media]}\n" for media in missing if media in why]
        told = [f"{len(broken)} of them failed when they were prepared:\n"] * bool(broken) + broken[:5]
        told += [f"  and {len(broken) - 5} more\n"] * (len(broken) > 5)
        raise CacheError(
            f"{len(missing)} of {len(table.media())} media of {table.dataset} {table.split} are not in the cache "
            f"{folder.name}, the first is {missing[0]}.\n{''.join(told)}"
            f"Prepare them:  {line}\n"
            f"or go on without them:  --ok-missing {len(missing)}  "
            "(test samples among them count as wrong, and the run is partial)"
        )
    return cache


def validation_views(recipe: Recipe) -> EvalConfig:
    """One center crop of one clip a sample, so that a validation is quick; single frames keep their number."""
    from harbench.recipe import EvalConfig

    clips = recipe.eval.clips if recipe.input.clip.uniform else 1
    return EvalConfig(clips=clips, average=recipe.eval.average, amp=recipe.eval.amp)


def _less_training(recipe: Recipe) -> list[str]:
    subset = recipe.data.train_subset
    if subset is None:
        return []
    return [
        f"trained on {subset.fraction:.0%} of train" if subset.fraction else f"trained on {subset.n} samples a class"
    ]


def partial_reasons(
    spec: DatasetSpec, table: SplitTable, official_classes: int, cache: FrameCache, missing: set[str]
) -> list[str]:
    """Why a number on these inputs may not stand beside complete ones (design rule 4), in words."""
    reasons = []
    if len(table.classes) < official_classes:
        reasons.append(f"{len(table.classes)} of {official_classes} classes")
    test = table.subset("test")
    there = sum(sample.media not in missing for sample in test)
    if there < 0.99 * len(test):
        reasons.append(f"{there} of {len(test)} test samples")
    subsets: dict[Subset, str] = {"train": "training", "val": "validation"}
    for subset, words in subsets.items():
        absent = sum(sample.media in missing for sample in table.subset(subset))
        if absent:
            reasons.append(f"{absent} {words} samples missing")
    if spec.short_side:
        sizes = sorted(min(cache.info(sample.media).source_size) for sample in test if sample.media in cache)
        if sizes and sizes[0] and sizes[len(sizes) // 2] < spec.short_side:
            reasons.append(
                f"downscaled media (median short side {sizes[len(sizes) // 2]}, published {spec.short_side} or more)"
            )
    return reasons


def from_runs(recipe: Recipe, runs: Path) -> Recipe:
    """The recipe with the run that `model.init_from` names by its place under `runs` as a path."""
    parent = recipe.model.init_from
    if parent is None or expanded(parent).is_dir():
        return recipe
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"init_from": str(runs / parent)})})


def with_seen(inputs: Inputs, *, allow_seen: bool) -> Inputs:
    """The inputs with the media that the weights which the recipe starts from have seen.

    Where test samples are, or may be, among them, the run is partial.

    Raises:
        RunError: test samples are among them, and not `allow_seen`.
    """
    config, test = inputs.recipe.model, inputs.table.subset("test")
    before = seen_before(config)
    count = before.count(inputs.spec, test)
    words = f"{count} of {len(test)} test samples were in the training data of {config.init_from or config.weights}"
    if count and not allow_seen:
        raise RunError(
            f"{words}, so their score says little of {inputs.table.dataset} {inputs.table.split}. Start from weights that "
            "have not seen them, or say --allow-seen: the run is then shown and never ranked"
        )
    reasons = [inputs.partial, words if count else "", before.unknown]
    partial = "; ".join(filter(None, reasons))
    return replace(inputs, seen=before | inputs.seen, seen_in_test=count, partial=partial)


def obstacles(
    recipe: Recipe, *, home: Path, ok_missing: int = 0, allow_seen: bool = False, caches: Sequence[str] = ()
) -> list[str]:
    """Everything that keeps a run from starting: data and weights, each one message with the way out."""
    inputs: list[Inputs] = []
    found: list[str] = []
    for attempt in (
        lambda: inputs.append(open_inputs(recipe, 0, home=home, ok_missing=ok_missing, caches=caches)),
        lambda: _check_weights(recipe),
        lambda: inputs and not found and with_seen(inputs[0], allow_seen=allow_seen),
    ):
        try:
            attempt()
        except (CacheError, MediaError, RunError, WeightsError) as error:
            found.append(str(error))
    return found


def _check_weights(recipe: Recipe) -> None:
    """Raise what keeps the weights that a recipe starts from from being had, or from being those of the run it names."""
    from harbench.models.prompts import check_prompts
    from harbench.models.weights import check_weights
    from harbench.runs.folder import WEIGHTS, checked_file

    check_weights(recipe.model)
    if recipe.model.prompts:
        check_prompts(recipe.model)
    if recipe.model.init_from is not None:
        checked_file(expanded(recipe.model.init_from), WEIGHTS)
