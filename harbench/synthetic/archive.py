"""Writes the archives of `sample` and `sample_stills`, one a person, in parallel. What is there is left alone."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import as_completed
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from harbench.datasets.sample import CLASSES, PERSONS, REVERSED, SCENARIOS, SPEC, SPLIT_PARTS, Part, media_name
from harbench.datasets.skeleton_files import format_skeleton
from harbench.errors import DatasetError
from harbench.files import replacing
from harbench.records import DatasetSpec, Track, silent
from harbench.synthetic import draw, media
from harbench.synthetic.stills import still_members
from harbench.synthetic.take import Take, make_take
from harbench.workers import pool

Member = tuple[str, bytes]

TWO_BODIES_EVERY = 5
"""Every fifth person's skeletons have a second body."""


def render_archives(
    spec: DatasetSpec, splits: Sequence[str], dest: Path, *, workers: int = 1, track: Track = silent
) -> list[Path]:
    """The archives that the media of `splits` are in; those that are not yet in `dest` are rendered.

    One archive holds everything of one person in one part (`r1-person01.zip`), so a killed run loses at most the
    archives it was at. The content depends on nothing but the names. Raises DatasetError for a split of no such name.
    """
    unknown = [split for split in splits if split not in spec.splits]
    if unknown:
        raise DatasetError(f"{spec.name} has no split {unknown[0]!r}; there are {', '.join(spec.splits)}")
    if spec.name == "sample":
        parts: list[str] = list(dict.fromkeys(part for split in splits for part in SPLIT_PARTS[split]))
    elif spec.name == "sample_stills":
        parts = ["stills"]
    else:
        raise DatasetError(f"harbench cannot render {spec.name!r}; it renders sample and sample_stills")
    jobs = [(part, person, dest / f"{part}-person{person:02d}.zip") for part in parts for person in PERSONS]
    missing = [job for job in jobs if not job[2].exists()]
    for _ in track(_rendered(missing, workers), f"rendering {spec.name}", len(missing)):
        pass
    return [path for _, _, path in jobs]


def _rendered(jobs: Sequence[tuple[str, int, Path]], workers: int) -> Iterator[Path]:
    if workers <= 1 or len(jobs) <= 1:
        for job in jobs:
            yield _write_archive(*job)
        return
    with pool(min(workers, len(jobs))) as processes:
        for future in as_completed([processes.submit(_write_archive, *job) for job in jobs]):
            yield future.result()


def _write_archive(part: str, person: int, path: Path) -> Path:
    """One archive, whole or not at all; members are stored with a fixed date, so the bytes do not vary."""
    cv2.setNumThreads(1)
    members = still_members(person) if part == "stills" else video_members(part, person)  # type: ignore[arg-type]
    with replacing(path, "wb") as handle, zipfile.ZipFile(handle, "w") as archive:
        for name, content in members:
            entry = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
            text = name.endswith(".skeleton")
            entry.compress_type = zipfile.ZIP_DEFLATED if text else zipfile.ZIP_STORED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content, compresslevel=1 if text else None)
    return path


def video_members(part: Part, person: int, scenarios: Iterable[int] = tuple(SCENARIOS)) -> Iterator[Member]:
    """Name and content of everything in the archive of one person; each video has its joints beside it."""
    for scenario in scenarios:
        pictures: list[draw.Image] = []
        for label in CLASSES:
            take = make_take(label, person, scenario, part)
            backwards = label == REVERSED[1]
            if not backwards or part == "biased":  # else they are those of its twin, which comes just before
                pictures = draw.frames(take)
            step = -1 if backwards else 1
            video = media_name(label, person, scenario, part)
            yield video, media.encode(pictures[::step])
            yield video.removesuffix(".avi") + SPEC.pose_suffix, _npy(media.observed_joints(take, video)[::step])
            if part == "r1" and scenario == 1:
                yield from _truth(take, video, label, step)


def _truth(take: Take, video: str, label: str, step: int) -> Iterator[Member]:
    """Skeleton, and true mask and background plate of the middle frame: for scenario 1 of the first repetition.

    Skeletons are named by the NTU grammar: S = scenario, P = person, A = place of the class in classes.txt, from 1.
    """
    person = take.who.number
    bodies = media.skeleton(take, video, two_bodies=person % TWO_BODIES_EVERY == 0)[::step]
    place = CLASSES.index(label) + 1
    yield f"skeletons/S{take.scenario:03d}C001P{person:03d}R001A{place:03d}.skeleton", format_skeleton(bodies)
    middle = take.only(range(len(take.scale))[::step][len(take.scale) // 2])
    png = video.removesuffix(".avi") + ".png"
    yield f"masks/{png}", draw.png(draw.as_mask(draw.mask_canvas(middle)))
    yield f"plates/{png}", draw.png(draw.bare(middle))


def _npy(array: npt.NDArray[np.generic]) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()
