"""`splits --audit`: somebody's split of a known data set, and clips of it that look alike on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harbench import paths
from harbench.errors import CacheError, DatasetError
from harbench.records import Track, silent

if TYPE_CHECKING:
    from harbench.analysis.audit import Claim, SplitAudit
    from harbench.datasets.parse import Row
    from harbench.frames.duplicates import Duplicates


@dataclass(frozen=True)
class AuditReport:
    """What somebody's lists or folders do."""

    splits: tuple[SplitAudit, ...]
    ignored: tuple[str, ...]
    """Files that say nothing about train and test."""
    duplicates: dict[str, Duplicates]
    """Split -> candidates for near duplicates; empty where they were not asked for. No reason for an exit code."""


def audit(
    name: str, sources: Sequence[str], *, home: Path, duplicates: bool = False, track: Track = silent
) -> AuditReport:
    """Measure somebody's split of the data set `name`: what it leaks, and of which official split it sees the test.

    Needs no media, but for `duplicates`: then the frames of the largest cache under `home` are compared.

    Raises:
        DatasetError: there is no split in `sources`, or none of its names is one of the data set.
        CacheError: `duplicates` without a frame cache.
    """
    from harbench.analysis.audit import audit_claim, read_claims
    from harbench.datasets.tables import load_rows, load_spec

    spec = load_spec(name, home)
    rows = load_rows(name, home)
    claims, ignored = read_claims(sources)
    overlapping = {other: _rows_if_known(other, home) for other in spec.overlaps}
    found = tuple(audit_claim(spec, split, claim, rows, overlapping) for split, claim in claims.items())
    alike = {}
    if duplicates:
        alike = {split: _duplicates(name, claim, rows, spec.source, home, track) for split, claim in claims.items()}
    return AuditReport(found, ignored, alike)


def _rows_if_known(dataset: str, home: Path) -> list[Row] | None:
    from harbench.datasets.tables import load_rows

    try:
        return load_rows(dataset, home)
    except DatasetError:
        return None


def _duplicates(name: str, claim: Claim, rows: Sequence[Row], source: str, home: Path, track: Track) -> Duplicates:
    """Candidates between the test and the other media of one split."""
    from harbench.analysis.audit import match_names
    from harbench.frames.cache import open_cache
    from harbench.frames.duplicates import find_duplicates

    caches = sorted(home.joinpath(name, "cache").glob("rgb-*"), key=_short_side)
    if not caches:
        raise CacheError(
            f"--duplicates compares frames, and there is no frame cache under {paths.cache_folder(home, name, '')}.\n"
            f"Make it:  harbench prepare {name}"
        )
    sides = {side: match_names(rows, names)[0] for side, names in claim.items()}
    test = sides.pop("test")
    train = {media: row for side in sides.values() for media, row in side.items() if media not in test}
    looks = {m: (row.group.partition("/")[2] if source else row.group) for m, row in (train | test).items()}
    labels = {media: row.label for media, row in (train | test).items()}
    return find_duplicates(open_cache(caches[-1]), tuple(train), tuple(test), looks, labels, track=track)


def _short_side(cache: Path) -> float:
    """Pixels of the short side that a cache's name ends with; `native` is more than any."""
    side = cache.name.rpartition("-")[2]
    return float(side) if side.isdigit() else float("inf")
