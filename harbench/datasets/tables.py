"""Finds data sets by name and makes their split tables. Needs no media, and nothing but the standard library.

A data set is a module with a top-level `SPEC`: one of harbench's own in this folder, or a user's
`<home>/datasets/<name>.py`. Its table is `splits/<name>/samples.csv`, a user's `<home>/splits/<name>/samples.csv`, or
the rule `SPEC.rows`.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType
from typing import Literal

from harbench import paths
from harbench.datasets.parse import KEY, Row, label_order, read_classes, read_samples, read_words, without_suffix
from harbench.errors import DatasetError, did_you_mean, nearest_or_all
from harbench.records import ClassLabel, DatasetSpec, Sample, SplitTable, Subset

_DEFINES_SPEC = re.compile(r"^SPEC\b[^=\n]*=", re.MULTILINE)
_LOPO = "lopo-"
_WHOLE = "-video"


# ------------------------------------------------------------------------------------------------------------- lookup
def dataset_names(home: Path | None = None) -> list[str]:
    """Every data set there is, harbench's own and those under `home`, sorted; no module is imported for it."""
    return sorted(_spec_files(home))


def load_spec(name: str, home: Path | None = None) -> DatasetSpec:
    """The `SPEC` of the data set `name`. Raises DatasetError when there is none, or two, or it is something else."""
    files = _spec_files(home).get(name)
    if files is None:
        if name in {readme.parent.name for readme in paths.shipped("splits").glob("*/README.md")}:
            raise DatasetError(
                f"Of {name} harbench ships published numbers only, no split. Make it of your own copy with "
                f"`harbench prepare DIR --name {name}`; splits/{name}/README.md says what DIR holds."
            )
        known = dataset_names(home)
        raise DatasetError(
            f"There is no data set {name!r}{did_you_mean(name, known) or '.'} There are: {', '.join(known)}. "
            "Your own goes into `datasets/NAME.py` and `splits/NAME/` under the data home (--home)."
        )
    if len(files) > 1:
        raise DatasetError(
            f"{files[1]} has the name of a data set of harbench's own. Rename it, its SPEC and its folder."
        )
    spec = getattr(_spec_module(name, files[0]), "SPEC", None)
    named = isinstance(spec, DatasetSpec) and spec.name == name and all(isinstance(each, str) for each in spec.splits)
    if not isinstance(spec, DatasetSpec) or not named or not spec.splits:
        expected = f"SPEC = DatasetSpec(name={name!r}, ..., splits=(at least the default one,))"
        raise DatasetError(f"{files[0]}: expected {expected}, found {spec!r}")
    return spec


def _spec_files(home: Path | None) -> dict[str, list[Path]]:
    """Name -> the files that define it. The text is scanned, so a file that does not compile is listed all the same."""
    found: dict[str, list[Path]] = defaultdict(list)
    for folder in (Path(__file__).parent, home and home / "datasets"):
        for path in sorted(folder.glob("*.py")) if folder else ():
            if _defines_spec(path):
                found[path.stem].append(path)
    return dict(found)


def _defines_spec(path: Path) -> bool:
    try:
        return bool(_DEFINES_SPEC.search(path.read_text(encoding="utf-8", errors="replace")))
    except OSError:  # a folder, or not to be read: whoever asks for this data set is told
        return True


def _spec_module(name: str, path: Path) -> ModuleType:
    if path.parent == Path(__file__).parent:
        return importlib.import_module(f"harbench.datasets.{name}")
    located = importlib.util.spec_from_file_location(f"harbench_user_dataset_{name}", path)
    assert located is not None and located.loader is not None  # a .py file always has a loader
    module = importlib.util.module_from_spec(located)
    sys.modules[located.name] = module
    with _of_the_user(path):
        located.loader.exec_module(module)
    return module


@contextmanager
def _of_the_user(path: Path) -> Iterator[None]:
    """Whatever somebody's own code raises, sys.exit included, is an error of that data set alone."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise DatasetError(f"{path}: this data set cannot be loaded: {type(error).__name__}: {error}") from error


# ------------------------------------------------------------------------------------------------------------- splits
def split_names(spec: DatasetSpec, home: Path | None = None) -> list[str]:
    """Every split that can be loaded: the listed ones, then the derived `lopo-<group>` and `<split>-video`."""
    if spec.rows is not None:
        return list(spec.splits)
    rows = _read_rows(spec, home)[1]
    names = list(spec.splits)
    if spec.leave_one_group_out:
        names += [f"{_LOPO}{group}" for group in dict.fromkeys(row.group for row in _default_rows(spec, rows)) if group]
    if any(row.start is not None for row in rows):
        names += [f"{name}{_WHOLE}" for name in dict.fromkeys(names)]
    return list(dict.fromkeys(names))


def expand_splits(spec: DatasetSpec, text: str, home: Path | None = None) -> list[str]:
    """The splits that `text` asks for, each once, in the order asked.

    Empty is the default split, `1` is `split1`, `all` every listed split, the name of a split set its splits; `lopo-*`
    is a pattern, which stands for `<split>-video` only if it says so (`lopo-*-video`); a comma separates several.
    Raises DatasetError for anything else, with the splits that there are.
    """
    chosen: dict[str, None] = {}
    for part in text.split(","):
        chosen.update(dict.fromkeys(_matching(spec, part.strip(), home)))
    return list(chosen)


def _matching(spec: DatasetSpec, part: str, home: Path | None) -> Sequence[str]:
    name = _full_name(spec, part)
    if name in spec.splits:
        return [name]
    if name == "all":
        return spec.splits
    if name in spec.split_sets:
        return spec.split_sets[name]
    names = split_names(spec, home)
    matches = [known for known in names if fnmatchcase(known, name) and known.endswith(_WHOLE) == name.endswith(_WHOLE)]
    if not matches:
        raise _unknown_split(spec, part, names)
    return matches


def _full_name(spec: DatasetSpec, text: str) -> str:
    """`` -> the default split; `1` -> `split1` where there is one."""
    numbered = f"split{text}"
    return numbered if numbered in spec.splits else text or spec.splits[0]


def _unknown_split(spec: DatasetSpec, name: str, names: Sequence[str]) -> DatasetError:
    derived = [known for known in names if known not in spec.splits]
    also = f"; derived from them: {derived[0]} ... {derived[-1]} ({len(derived)})" if derived else ""
    return DatasetError(
        f"{spec.name} has no split {name!r}{did_you_mean(name, names) or '.'} It has: {', '.join(spec.splits)}{also}. "
        f"`harbench splits {spec.name}` shows them."
    )


# ------------------------------------------------------------------------------------------------------------- tables
def load_split(dataset: str, split: str = "", home: Path | None = None) -> SplitTable:
    """One official partition of `dataset`, in the publisher's order; `split` as `expand_splits` takes a single one.

    `lopo-<group>` is test = that group, train = all others, over the samples of the default split. `<split>-video`
    joins the frame ranges of a media into one sample that is the whole media. Raises DatasetError for an unknown data
    set or split, and with file and line for a damaged table.
    """
    spec = load_spec(dataset, home)
    name = _full_name(spec, split)
    if spec.rows is not None:
        if name not in spec.splits:
            raise _unknown_split(spec, name, spec.splits)
        with _of_the_user(_spec_files(home)[dataset][0]):
            ruled = tuple(spec.rows(name))
            if not all(isinstance(sample, Sample) for sample in ruled):
                raise TypeError("expected SPEC.rows(split) to yield Sample")
        return SplitTable(spec.name, name, spec.unit, listed_classes(spec, home), ruled)
    classes, rows = _read_rows(spec, home)
    targets = {label.key: target for target, label in enumerate(classes)}
    samples = _partition(spec, rows, targets, name)
    if samples is not None:
        return SplitTable(spec.name, name, spec.unit, classes, tuple(samples))
    samples = _partition(spec, rows, targets, name.removesuffix(_WHOLE)) if name.endswith(_WHOLE) else None
    if samples is None or all(sample.start is None for sample in samples):
        raise _unknown_split(spec, name, split_names(spec, home))
    return SplitTable(spec.name, name, "video", classes, tuple(_whole_media(spec.name, name, samples)))


def load_rows(dataset: str, home: Path | None = None) -> list[Row]:
    """Every sample of a data set with its subset in each listed split, those that no split uses included."""
    spec = load_spec(dataset, home)
    if spec.rows is None:
        stored = _stored(spec)
        return [row._replace(subsets={name: row.subsets[name] for name in stored}) for row in _read_rows(spec, home)[1]]
    rows: dict[str, Row] = {}
    for split in spec.splits:
        table = load_split(dataset, split, home)
        for s in table.samples:
            label = table.classes[s.target].key
            row = rows.setdefault(s.sample_id, Row(s.sample_id, label, s.group, s.media, s.start, s.end, {}))
            rows[s.sample_id] = row._replace(subsets={**row.subsets, split: s.subset})
    return [row._replace(subsets={**dict.fromkeys(spec.splits, ""), **row.subsets}) for row in rows.values()]


def _stored(spec: DatasetSpec) -> list[str]:
    """The splits that are columns of samples.csv."""
    return [name for name in spec.splits if not (spec.leave_one_group_out and name.startswith(_LOPO))]


def _read_rows(spec: DatasetSpec, home: Path | None) -> tuple[tuple[ClassLabel, ...], list[Row]]:
    """Classes and rows of samples.csv; classes.txt beside it orders and names the classes, else they are sorted."""
    path = _table_file(spec, "samples.csv", home)
    names = _table_file(spec, "classes.txt", home) if spec.lists else path.with_name("classes.txt")
    if not names.is_file():
        rows = read_samples(path, _stored(spec), None)
        return tuple(ClassLabel(key, key.replace("_", " ")) for key in label_order(row.label for row in rows)), rows
    classes = read_classes(names)
    return classes, read_samples(path, _stored(spec), {label.key for label in classes})


def class_words(table: SplitTable, home: Path | None = None) -> list[tuple[str, ...]]:
    """What each class is in words, to be put into a sentence: its lines `key<TAB>words` of prompts.txt, else its name.

    Raises DatasetError for a line of another form, and for a class that prompts.txt leaves out.
    """
    for folder in paths.splits_folders(table.dataset, home):
        if (folder / "prompts.txt").is_file():
            words = read_words(folder / "prompts.txt")
            if missing := [label.key for label in table.classes if label.key not in words]:
                raise DatasetError(f"{folder / 'prompts.txt'}: no line for {len(missing)} classes, first {missing[0]}")
            return [words[label.key] for label in table.classes]
    return [(label.display.lower(),) for label in table.classes]


def novel_classes(table: SplitTable, home: Path | None = None) -> list[bool]:
    """Which classes are novel in the published half and half, as novel.txt lists them. DatasetError where there is no list."""
    for folder in paths.splits_folders(table.dataset, home):
        if (folder / "novel.txt").is_file():
            chosen = {label.key for label in read_classes(folder / "novel.txt")}
            return [label.key in chosen for label in table.classes]
    raise DatasetError(
        f"data.base_to_novel: {table.dataset} has no list of novel classes; a list of your own, one key a line, is "
        f"{(home or Path('data')) / 'splits' / table.dataset / 'novel.txt'}"
    )


def listed_classes(spec: DatasetSpec, home: Path | None = None) -> tuple[ClassLabel, ...]:
    """The classes of classes.txt, in order. Raises DatasetError where there is none."""
    return read_classes(_table_file(spec, "classes.txt", home))


def _table_file(spec: DatasetSpec, name: str, home: Path | None) -> Path:
    for folder in paths.splits_folders(spec.name, home):
        if (folder / name).is_file():
            return folder / name
    if spec.lists:
        raise DatasetError(
            f"{spec.name} has no table in this data home yet. It is made of the official list "
            f"{spec.lists['test'].name}:  harbench prepare {spec.name} --from DIR   (the folder of your videos)"
        )
    where = (
        f"{home / 'splits' / spec.name / name}" if home else f"splits/{spec.name}/{name} under the data home (--home)"
    )
    raise DatasetError(
        f"{spec.name} has no table: expected {where}, found nothing. See splits/README.md for its columns."
    )


def _default_rows(spec: DatasetSpec, rows: Sequence[Row]) -> Sequence[Row]:
    """The rows that the default split uses; all of them when it is derived itself."""
    default = spec.splits[0]
    return [row for row in rows if row.subsets[default]] if default in _stored(spec) else rows


def _partition(spec: DatasetSpec, rows: Sequence[Row], targets: dict[str, int], split: str) -> list[Sample] | None:
    """The samples of a stored or `lopo-` split; None when there is no such split."""
    if split in _stored(spec):
        return [_sample(row, targets, subset) for row in rows if (subset := row.subsets[split])]
    if not spec.leave_one_group_out or not split.startswith(_LOPO):
        return None
    held_out, rows = split.removeprefix(_LOPO), _default_rows(spec, rows)
    if not KEY.fullmatch(held_out) or all(row.group != held_out for row in rows):
        return None
    return [_sample(row, targets, "test" if row.group == held_out else "train") for row in rows]


def _sample(row: Row, targets: dict[str, int], subset: Subset) -> Sample:
    return Sample(row.sample_id, targets[row.label], row.group, subset, row.media, row.start, row.end)


def _whole_media(dataset: str, split: str, samples: Iterable[Sample]) -> list[Sample]:
    """One sample a media, its id the media without suffix; its ranges must agree in class, group and subset."""
    merged: dict[str, Sample] = {}
    for sample in samples:
        whole = replace(sample, sample_id=without_suffix(sample.media), start=None, end=None)
        if merged.setdefault(sample.media, whole) != whole:
            raise DatasetError(
                f"{dataset} {split}: the frame ranges of {sample.media} differ in class, group or subset, so it cannot "
                f"be one sample. Use the split `{split.removesuffix(_WHOLE)}`."
            )
    return list(merged.values())


# --------------------------------------------------------------------------------------------------------- validation
def carve_validation(table: SplitTable, spec: DatasetSpec, share: float | Literal["official"]) -> SplitTable:
    """`table` with a part of train turned into val, whole groups at a time; test is never touched.

    `official` holds out the data set's own validation set: what the table lists as val, else the groups that
    `spec.validation` matches. A share holds out the groups with the smallest hash, about that share of them, class by
    class where no group spans two classes; samples without a group are taken media by media. What the table lists as
    val is then left out, so that train is never larger than without a share.

    Raises:
        DatasetError: nothing would be left on one side, or there is no official validation set.
    """
    groups: dict[str, set[int]] = defaultdict(set)
    for sample in table.subset("train"):
        groups[_unit(sample)].add(sample.target)
    if share != "official":
        held_out = _smallest_hashes(table.dataset, groups, share)
    elif table.subset("val"):
        return table
    elif spec.validation:
        held_out = {group for group in groups if re.search(spec.validation, group)}
    else:
        raise DatasetError(
            f"{table.dataset} {table.split} has no official validation set. Give the share of train to hold out:  "
            "--set data.validation=0.2"
        )
    if not held_out or len(held_out) == len(groups):
        raise DatasetError(
            f"{table.dataset} {table.split}: cannot hold out {len(held_out)} of {len(groups)} training groups for "
            "validation. Leave `data.validation` out of the recipe, or give another share."
        )
    return replace(
        table,
        samples=tuple(
            replace(sample, subset="val") if sample.subset == "train" and _unit(sample) in held_out else sample
            for sample in table.samples
            if sample.subset != "val"
        ),
    )


def _unit(sample: Sample) -> str:
    """What is held out as a whole."""
    return sample.group or sample.media


def _smallest_hashes(dataset: str, labels: dict[str, set[int]], fraction: float) -> set[str]:
    """The share `fraction` of the groups, at least one of two or more; their order is a hash's, so nobody's choice."""
    one_class_each = all(len(targets) == 1 for targets in labels.values())
    strata: dict[int, list[str]] = defaultdict(list)
    for group, targets in labels.items():
        strata[min(targets) if one_class_each else 0].append(group)
    held_out: set[str] = set()
    for groups in strata.values():
        groups.sort(key=lambda group: hashlib.sha256(f"{dataset}/{group}".encode()).digest())
        held_out.update(groups[: max(round(fraction * len(groups)), 1)] if len(groups) > 1 else ())
    return held_out


def published_names(home: Path | None = None) -> list[str]:
    """The data sets with published numbers, shipped or the user's own, sorted."""
    roots = [paths.shipped("splits"), *([home / "splits"] if home is not None else [])]
    return sorted({path.parent.name for root in roots for path in root.glob("*/published.csv")})


def class_numbers(table: SplitTable, keys: Sequence[str]) -> list[int]:
    """The numbers of these classes, in official order. Raises DatasetError where there is none of that key."""
    known = {label.key: index for index, label in enumerate(table.classes)}
    for key in keys:
        if key not in known:
            raise DatasetError(f"{table.dataset} has no class {key!r}{nearest_or_all(key, known)}")
    return sorted(known[key] for key in set(keys))


def keep_classes(table: SplitTable, keys: tuple[str, ...]) -> SplitTable:
    """Only the samples of these classes, in official class order, targets renumbered."""
    kept = class_numbers(table, keys)
    renumbered = {old: new for new, old in enumerate(kept)}
    return replace(
        table,
        classes=tuple(table.classes[index] for index in kept),
        samples=tuple(replace(s, target=renumbered[s.target]) for s in table.samples if s.target in renumbered),
    )
