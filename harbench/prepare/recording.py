"""What `prepare` writes down of media: `media.csv`, joined with what was decoded, and `failed.csv`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from harbench.files import locked
from harbench.prepare.verify import (
    MediaRow,
    failed_path,
    hashed,
    manifest_path,
    read_failed,
    read_manifest,
    write_failed,
    write_manifest,
)
from harbench.records import CacheReport, DatasetSpec, Track, silent


def record_media(
    spec: DatasetSpec, home: Path, files: Mapping[str, Path], cache: Path, report: CacheReport, track: Track = silent
) -> None:
    """Write down in `media.csv` and `failed.csv` what `files` (media -> decoded file) are and became in the folder `cache`.

    What is recorded of other media stays; a file that is neither new nor changed is not read again.
    """
    path = manifest_path(home, spec.name)
    with locked(path.with_name(".media.csv.lock")):
        before = read_manifest(path)
        named = {_row_name(spec, media, file): media for media, file in files.items()}
        rows = hashed({name: files[media] for name, media in named.items()}, before, track=track)
        cached = {*report.done, *report.reused}
        _join(
            rows,
            {name: media for name, media in named.items() if name in rows and media in cached},
            cache,
            fresh={*report.done},
        )
        if any(before.get(name) != row for name, row in rows.items()):
            write_manifest(path, before | rows)
        failed = read_failed(failed_path(home, spec.name))
        kept = {key: why for key, why in failed.items() if key[0] != cache.name or key[1] not in files}
        kept |= {(cache.name, media): why for media, why in report.failed.items()}
        if kept != failed:
            write_failed(failed_path(home, spec.name), kept)


def known_failures(home: Path, dataset: str, cache: str) -> dict[str, str]:
    """Media that no decoder could read for this cache -> the decoder's own words."""
    return {media: why for (where, media), why in read_failed(failed_path(home, dataset)).items() if where == cache}


def _row_name(spec: DatasetSpec, media: str, file: Path) -> str:
    """Under what name a file is recorded: its media's, or that of the joints that go with it."""
    from harbench.prepare.poses import pose_suffix

    beside = spec.modality != "pose" and file.name.endswith(pose_suffix(spec))
    return str(PurePosixPath(media).with_suffix("")) + pose_suffix(spec) if beside else media


def _join(rows: dict[str, MediaRow], named: Mapping[str, str], cache: Path, fresh: set[str]) -> None:
    """Add to the rows of cached media (name -> media) the cache's name, and what was decoded: neither of flow, which has a
    frame less, nor of chosen bodies, where frames without anybody may be left out.
    """
    from harbench.frames.blocks import block_of, read_entries

    new = {m: name for name, m in named.items() if m in fresh or cache.name not in rows[name].caches.split()}
    if not new:
        return
    for index in cache.glob("frames-*.idx"):
        for media, entry in read_entries(cache, block_of(index)).items():
            if media not in new:
                continue
            row = rows[new[media]]
            row = replace(row, caches=" ".join(sorted({*row.caches.split(), cache.name})), note=entry.note or row.note)
            if not cache.name.startswith(("flow", "pose-")):
                seconds = round(entry.frames / entry.fps, 3) if entry.fps else 0.0
                row = replace(
                    row, frames=entry.frames, fps=entry.fps, width=entry.source_width, height=entry.source_height,
                    seconds=seconds, variable=entry.variable, note=entry.note,
                )  # fmt: skip
            rows[new[media]] = row
