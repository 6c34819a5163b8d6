"""Which media weights were trained on, across data sets and through `init_from`: no test sample may be among them.

A training sample is known as `<origin>/<media without suffix>`, with `#<start>-<end>` where it is a frame range. The
origin is that of the data set's SPEC, so a sequence of NTU 60 has the same name in NTU 120 and in all of their subsets.
"""

from __future__ import annotations

import base64
import gzip
import logging
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from harbench.errors import RunError, WeightsError
from harbench.files import expanded, replacing
from harbench.records import DatasetSpec, Sample

if TYPE_CHECKING:
    from harbench.recipe import ModelConfig

log = logging.getLogger(__name__)
METADATA = "train_media"
"""The key of the packed list in the metadata of a checkpoint."""
_UNKNOWN = "(unknown)"
"""A line of the list: there are other media, which are not known."""
_Range = tuple[float, float]


@dataclass(frozen=True)
class Seen:
    """The media that weights were trained on, here and in the runs that they start from."""

    ids: frozenset[str] = frozenset()
    unknown: str = ""
    """Why there may be others; empty: these are all."""

    @classmethod
    def of(cls, lines: Iterable[str], source: Path) -> Seen:
        """From the lines of a list that was read from `source`."""
        ids = frozenset(lines)
        return cls(ids - {_UNKNOWN}, f"the training samples of {source} are not all known" * (_UNKNOWN in ids))

    @classmethod
    def of_metadata(cls, path: Path, metadata: Mapping[str, str]) -> Seen:
        """What a checkpoint says. Raises WeightsError where its list is damaged.

        A checkpoint of an older harbench has no list, or one of sample ids: what it was trained on is unknown. Weights
        that harbench did not write have nothing to say.
        """
        if METADATA not in metadata:
            return cls(unknown=f"{path} does not name the media that it was trained on" * ("harbench" in metadata))
        try:
            lines = zlib.decompress(base64.b64decode(metadata[METADATA])).decode().splitlines()
        except (ValueError, zlib.error) as error:
            raise WeightsError(f"{path}: its list of training samples is damaged ({error}). Repeat that run") from None
        return cls.of(lines, path)

    def __or__(self, other: Seen) -> Seen:
        return Seen(self.ids | other.ids, "; ".join(dict.fromkeys(filter(None, (self.unknown, other.unknown)))))

    @property
    def lines(self) -> list[str]:
        """As train_ids.txt.gz has them, sorted."""
        return sorted(self.ids | ({_UNKNOWN} if self.unknown else set()))

    @property
    def packed(self) -> str:
        """The lines for the metadata of a checkpoint."""
        return base64.b64encode(zlib.compress("\n".join(self.lines).encode(), 9)).decode()

    def count(self, spec: DatasetSpec, samples: Iterable[Sample]) -> int:
        """How many of `samples` are of media, and of frames, that are among these."""
        ranges: dict[str, list[_Range]] = defaultdict(list)
        for line in self.ids:
            media, frames = _split(line)
            ranges[media].append(frames)
        wanted = (_split(media_id(spec, sample)) for sample in samples)
        return sum(any(start < b and a < end for a, b in ranges.get(media, ())) for media, (start, end) in wanted)


def media_id(spec: DatasetSpec, sample: Sample) -> str:
    """`<origin>/<media without suffix>[#<start>-<end>]`: equal for the same media in different data sets."""
    media = PurePosixPath(sample.media).with_suffix("").as_posix()
    if spec.origin_media is not None:
        media = spec.origin_media(media)
    whole = sample.start is None and sample.end is None
    frames = "" if whole else f"#{sample.start or 0}-{'' if sample.end is None else sample.end}"
    return f"{spec.origin or spec.name}/{media}{frames}"


def _split(line: str) -> tuple[str, _Range]:
    """The media of a line and its range of frames; a whole media has all frames."""
    media, mark, frames = line.rpartition("#")
    start, _, end = frames.partition("-")
    if not mark or not start.isdigit() or not (end.isdigit() or not end):
        return line, (0, float("inf"))
    return media, (int(start), float(end or "inf"))


def seen_before(config: ModelConfig) -> Seen:
    """What the weights that a recipe starts from were trained on; nothing is known to be said of published ones."""
    from harbench.models.hubs import is_published
    from harbench.models.weight_files import read_metadata
    from harbench.runs.folder import WEIGHTS

    if config.init_from is not None:
        folder = expanded(config.init_from)
        path, listed = folder / WEIGHTS, run_seen(folder)
        packed = Seen.of_metadata(path, read_metadata(path))  # the same list, which is not believed alone
        return Seen(listed.ids | packed.ids, listed.unknown or packed.unknown)
    if config.weights is None or is_published(config.weights):
        return Seen()
    path = expanded(config.weights)
    return Seen.of_metadata(path, read_metadata(path))


def run_seen(folder: Path) -> Seen:
    """What the weights of a finished run have seen; *unknown* where its list is missing, empty or damaged."""
    try:
        return Seen.of(read_train_ids(folder), folder)
    except RunError as error:
        log.warning("%s", error)
        return Seen(unknown=f"the training samples of {folder} are not known")


def write_train_ids(folder: Path, seen: Seen) -> None:
    """train_ids.txt.gz, so that scoring these samples later can be refused."""
    from harbench.runs.folder import TRAIN_IDS

    with replacing(folder / TRAIN_IDS, "wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
        packed.writelines(f"{line}\n".encode() for line in seen.lines)


def read_train_ids(folder: Path) -> list[str]:
    """The lines of a finished run's train_ids.txt.gz. Raises RunError when it is missing, empty or damaged."""
    from harbench.runs.folder import TRAIN_IDS, checked_file

    try:
        with gzip.open(checked_file(folder, TRAIN_IDS), "rt", encoding="utf-8") as lines:
            found = lines.read().splitlines()
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise RunError(f"{folder}/{TRAIN_IDS} cannot be read ({error}); repeat that run with --force") from None
    if not found:
        raise RunError(f"{folder}/{TRAIN_IDS} is empty, so what was trained on is not known; repeat it with --force")
    return found
