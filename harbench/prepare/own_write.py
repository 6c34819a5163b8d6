"""A data set of the user's own, checked and written down: `datasets/<name>.py`, `splits/<name>/samples.csv`, `classes.txt`.

Every importer ends here: what no table can hold is refused here, before anything is written.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from harbench import paths
from harbench.datasets.parse import KEY, check_path, label_order, read_classes, read_samples, without_suffix
from harbench.datasets.tables import dataset_names
from harbench.errors import DatasetError
from harbench.files import replacing
from harbench.prepare.archives import is_archive
from harbench.prepare.match import link_media
from harbench.prepare.own import OwnData, OwnOptions, class_sizes, some, understood, with_splits
from harbench.prepare.own_csv import read_own
from harbench.prepare.own_folders import write_frames
from harbench.prepare.pose_axes import write_poses
from harbench.prepare.unpack import unpack
from harbench.records import ClassLabel, DatasetSpec, Track

_SHOWN = 12
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


def write_own(data: OwnData, options: OwnOptions, home: Path, into: Path | None = None) -> tuple[str, ...]:
    """Write `data` as the data set `options.name` under the data home; returns what the user should know.

    A dry run gives another home, `into`, that is written to instead. Raises DatasetError with every problem at
    once: unsafe or repeated media, labels that give one key, a single class, a name that is taken by a data set with
    other content.
    """
    name = options.name
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise DatasetError(f"--name {name!r}: expected letters, digits and _, a letter first")
    if name in dataset_names(None):
        raise DatasetError(f"--name {name}: harbench has a data set of that name; choose another")
    _refuse_bad(data)
    keys, classes, notes = _classes(data)
    data = with_splits(data, options)
    files = {
        Path("splits", name, "classes.txt"): "".join(f"{c.key}\t{c.display}\n" for c in classes),
        Path("splits", name, "samples.csv"): _table(data, keys),
        Path("datasets", f"{name}.py"): _module(data, name),
    }
    differing = [str(home / path) for path, text in files.items() if _differs(home / path, text)]
    if differing and not options.force:
        raise DatasetError(
            f"there is a data set {name} already, with other content in {', '.join(differing)}. Choose another --name, or "
            "say --force to write over it (runs made on the old one then mean something else)."
        )
    _write(files, into or home, classes, data)
    return (*data.notes, *notes, *_preview(data))


def _differs(path: Path, text: str) -> bool:
    try:
        return path.read_bytes() != text.encode()
    except FileNotFoundError:
        return False


def _write(files: Mapping[Path, str], home: Path, classes: Sequence[ClassLabel], data: OwnData) -> None:
    """Put the files in place once the tables are read back and say what they should."""
    with ExitStack() as stack:
        written = {}
        # Moved in the order of `files`: the module, which makes them a data set, last.
        for path, text in reversed([*files.items()]):
            handle = written[path.name] = stack.enter_context(replacing(home / path))
            handle.write(text)
            handle.flush()
        table, listed = (Path(written[name].name) for name in ("samples.csv", "classes.txt"))
        rows = read_samples(table, data.splits, {label.key for label in classes})
        same = all(
            (row.media, row.group, *(row.subsets[split] for split in data.splits))
            == (sample.media, sample.group, *((sample.subsets or {}).get(split, "") for split in data.splits))
            for row, sample in zip(rows, data.samples, strict=True)
        )
        if not same or read_classes(listed) != tuple(classes):
            raise DatasetError(f"{table}: the tables do not read back as they were written; nothing was kept of them")


def _classes(data: OwnData) -> tuple[dict[str, str], tuple[ClassLabel, ...], tuple[str, ...]]:
    """Label -> key, the classes in order, and what to say about them."""
    labels = label_order(sample.label for sample in data.samples)
    known = {word: c.key for c in data.classes for word in (c.display, c.key)}
    keys = {label: known[label] for label in labels if label in known} if data.classes else class_keys(labels)
    if data.classes and (strangers := [label for label in labels if label not in known]):
        raise DatasetError(f"{len(strangers)} labels are not in classes.txt: {', '.join(strangers[:_SHOWN])}")
    named = [(c.key, c.display) for c in data.classes] or [(key, label) for label, key in keys.items()]
    clashes = [key for key, number in Counter(key for key, _ in named).items() if number > 1 or not KEY.fullmatch(key)]
    if clashes:
        same = [f"{key} ({', '.join(name for each, name in named if each == key)})" for key in clashes]
        raise DatasetError(
            f"labels that differ only in characters outside A-Z a-z 0-9 _ + - give one key: {'; '.join(same)}. "
            "Rename them, or give keys in classes.txt (key<TAB>label)."
        )
    words = Counter(word for c in data.classes for word in {c.display, c.key})
    if twice := [word for word, number in words.items() if number > 1]:
        raise DatasetError(f"{', '.join(twice[:_SHOWN])}: a name of two classes of classes.txt; rename one of them")
    if len(data.classes or labels) < 2:
        raise DatasetError(f"expected two classes or more; found {understood(data)}")
    notes = []
    folded = Counter(label.casefold() for label in labels)
    if similar := [label for label in labels if folded[label.casefold()] > 1]:
        notes.append(f"classes that differ only in upper and lower case, kept apart: {', '.join(similar)}")
    if data.classes:
        idle = [c.key for c in data.classes if c.key not in set(keys.values())]
        notes += [f"classes without a sample: {', '.join(idle)}"] if idle else []
        return keys, data.classes, ("class order: as given", *notes)
    classes = tuple(ClassLabel(keys[label], label.replace("_", " ")) for label in labels)
    return keys, classes, (f"class order: sorted ({len(classes)} classes)", *notes)


def class_keys(labels: Sequence[str]) -> dict[str, str]:
    """Label -> key: what of it may stand in one, or its number (`c001`) where nothing is left that tells it apart."""
    keys = {label: re.sub(r"[^A-Za-z0-9_+-]+", "_", label) for label in labels}
    taken = Counter(keys.values())
    return {
        label: f"c{number:03d}"
        if not label.isascii() and (taken[key] > 1 or not re.search("[A-Za-z0-9]", key))
        else key
        for number, (label, key) in enumerate(keys.items(), start=1)
    }


def _preview(data: OwnData) -> tuple[str, ...]:
    """Classes, subsets and two examples, so that the user can check them."""
    notes = [class_sizes(data)]
    for split in data.splits[:_SHOWN]:
        parts = Counter((sample.subsets or {}).get(split, "unused") for sample in data.samples)
        found = ", ".join(f"{each} {parts[each]}" for each in ("train", "val", "test", "unused") if parts[each])
        notes.append(f"split `{split}`: {found}")
    said = [
        f"{sample.media} is {sample.label}, {(sample.subsets or {}).get(data.splits[0]) or 'unused'}"
        for sample in (data.samples[0], data.samples[-1])
    ]
    return (*notes, f"examples: {'; '.join(said)}")


def _refuse_bad(data: OwnData) -> None:
    """Raise DatasetError for what the tables cannot hold, from whatever importer it comes."""
    problems = []
    for sample in data.samples:
        for column, text in (("media", sample.media), *((("group", sample.group),) if sample.group else ())):
            try:
                check_path(column, text)
            except ValueError as problem:
                problems.append(str(problem))
    labels = {*(s.label for s in data.samples), *(c.display for c in data.classes)}
    problems += [
        f"class {label!r}: expected a name in one line without tabs and blanks around it"
        for label in sorted(labels)
        if not label or label != label.strip() or _CONTROL.search(label)
    ]
    twice = [name for name, number in Counter(s.media.casefold() for s in data.samples).items() if number > 1]
    problems += [f"{name} stands there more than once (upper and lower case count as one)" for name in twice]
    if problems:
        raise DatasetError("\n".join(["the data cannot be taken:", *some(problems)]))


def _table(data: OwnData, keys: Mapping[str, str]) -> str:
    """samples.csv. Media that differ only in their suffix get ids with it."""
    stems = [without_suffix(sample.media) for sample in data.samples]
    with_id, with_group = len(set(stems)) < len(stems), any(sample.group for sample in data.samples)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    header = ["media", "class", *(["group"] if with_group else []), *(["sample_id"] if with_id else []), *data.splits]
    writer.writerow(header)
    for sample in data.samples:
        given = {"media": sample.media, "class": keys[sample.label], "group": sample.group, "sample_id": sample.media}
        writer.writerow([{**given, **(sample.subsets or {})}.get(column, "") for column in header])
    return out.getvalue()


def _module(data: OwnData, name: str) -> str:
    """The data set's module, as CONTRIBUTING.md has it written by hand."""
    unit = "image" if data.modality == "image" else "video"
    facts = [
        f"name={name!r}",
        f"title={name!r}",
        f"modality={data.modality!r}",
        f"unit={unit!r}",
        f"splits={data.splits!r}",
    ]
    if data.modality == "pose":
        facts.append(f"pose_shape={data.pose_axes.shape!r}")
    if any(sample.group for sample in data.samples):
        facts.append("group='group'")
    if all(KEY.fullmatch(sample.group or "") for sample in data.samples):
        facts.append("leave_one_group_out=True")
    if len(data.splits) > 1 and data.splits == tuple(f"split{n}" for n in range(1, len(data.splits) + 1)):
        facts.append(f"split_sets={ {f'mean-of-{len(data.splits)}': data.splits} }")
    counts = {
        split: tuple(
            sum((s.subsets or {}).get(split) == subset for s in data.samples) for subset in ("train", "val", "test")
        )
        for split in data.splits
    }
    facts.append(f"counts={counts!r}")
    body = "".join(f"    {fact},\n" for fact in facts)
    head = f'"""{name}: a data set of your own."""\n\nfrom harbench.records import DatasetSpec\n\n'
    return f"{head}SPEC = DatasetSpec(\n{body})\n"


__all__ = ["OwnOptions", "adopt", "refuse_nameless"]


def adopt(
    folder: Path, own: OwnOptions, home: Path, dest: Path, track: Track
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Make `folder`, or an archive of it, the data set `own.name` of this data home: tables written, media linked.

    What is written goes to the home `dest`, for a dry run a temporary one. Returns archives that hold its media (a
    `poses.npz`) and what the user should know. Raises DatasetError with every problem of the folder's tables.
    """
    unpacked, inside = dest / own.name / "unpacked", folder
    if folder.is_file() and is_archive(folder):
        [inside] = unpack(DatasetSpec(own.name, own.name, "video", "video", ()), [folder], unpacked, track=track)
    data = read_own(inside, own.layout, own.modality, own.pose_axes)
    notes = tuple(note.replace(str(inside), str(folder)) for note in write_own(data, own, home, dest))
    files = dict(data.files)
    if dest == home and data.frames:
        for media, pictures in track(list(data.frames.items()), "packing frames", len(data.frames)):
            files[media] = unpacked / "frames" / media
            write_frames(files[media], pictures)
    poses = data.poses
    if dest == home and not data.pose_axes.as_kept:
        where = {sample.media: poses or files[sample.media] for sample in data.samples}
        files, poses = write_poses(where, poses, data.pose_axes, unpacked / "poses"), None
    link_media(files, paths.media_folder(dest, own.name))
    return (poses,) if poses else (), notes


def refuse_nameless(name: str, home: Path) -> None:
    """Raise DatasetError where `name` is a folder or an archive and no data set."""
    path = Path(name)
    if (path.is_dir() or (path.is_file() and is_archive(path))) and name not in dataset_names(home):
        kind = "a folder" if path.is_dir() else "an archive"
        raise DatasetError(f"{name} is {kind}. Give your data set a name:  harbench prepare {name} --name mine")
