"""`prepare --stream pose`: the pose file of every media, found in its pixels where the data set carries no joints.

Beside a pose file that was found lies `<name>.source.json`: size, time and SHA-256 of the media that it was computed from.
Poses of a media that has changed since are computed anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from harbench import paths
from harbench.files import sha256, write_text
from harbench.records import DatasetSpec, Track

if TYPE_CHECKING:
    from harbench.frames.detectors import PoseConfig
    from harbench.frames.fill import Decoding
    from harbench.recipe import CacheConfig

_FIRST = "pose_landmarker_full.task, 1 persons"
"""What found the poses whose record does not say it."""


def carries_poses(spec: DatasetSpec) -> bool:
    """Whether a data set comes with joints; in the media of others they have to be found."""
    return spec.modality == "pose" or bool(spec.pose_suffix)


def pose_suffix(spec: DatasetSpec) -> str:
    """What the name of a media's pose file ends with, in place of the media's own suffix."""
    return spec.pose_suffix or ".landmarks.npy"


def pose_files(spec: DatasetSpec, present: Mapping[str, Path], home: Path) -> dict[str, Path]:
    """The pose file of each media that has one: itself, its neighbor with `pose_suffix`, or what was found in it."""
    if spec.modality == "pose":
        return dict(present)
    if carries_poses(spec):
        originals = {media: path.resolve() for media, path in present.items()}
        files = {media: path.with_name(path.stem + spec.pose_suffix) for media, path in originals.items()}
    else:
        files = _found_poses(spec, present, home)
    return {media: path for media, path in files.items() if path.is_file()}


def pose_config(model: Path | None, persons: int, home: Path) -> PoseConfig:
    """How poses are found: by `model`, or by MediaPipe's in the data home."""
    from harbench.frames.detectors import BUNDLE, PoseConfig

    return PoseConfig(model or paths.models_folder(home) / BUNDLE, persons)


def check_poses(spec: DatasetSpec, cache: CacheConfig, config: PoseConfig) -> None:
    """Raise MediaError, with what to do, where poses have to be found and nothing here can find them."""
    from harbench.frames.detectors import check_finder
    from harbench.frames.streams import STREAMS

    if not STREAMS[cache.stream].pictures and not carries_poses(spec):
        check_finder(config)


def find_poses(
    spec: DatasetSpec, media: Mapping[str, Path], home: Path, config: PoseConfig, decoding: Decoding, *, track: Track
) -> dict[str, str]:
    """Write a pose file for each media that carries none, or has changed; returns media that failed, with the reason."""
    from harbench.frames.detectors import extract_poses

    if carries_poses(spec) or not media:
        return {}
    found = _found_poses(spec, media, home)
    by = f"{config.model.name}, {config.persons} persons"
    for name, pose in found.items():
        _discard_stale(media[name], pose, by)
    files = {media[name]: pose for name, pose in found.items()}
    failed = extract_poses(files, config, decoder=decoding.decoder, workers=decoding.workers, track=track)
    return {name: failed[path] for name, path in media.items() if path in failed}


def _found_poses(spec: DatasetSpec, media: Iterable[str], home: Path) -> dict[str, Path]:
    """Where the poses that are found in each media lie."""
    folder = paths.poses_folder(home, spec.name)
    return {name: folder / PurePosixPath(name).with_suffix(pose_suffix(spec)) for name in media}


def _discard_stale(media: Path, pose: Path, by: str) -> None:
    """Delete a pose file that another content of the media gave, or another model, and record what the media is now.

    In this order: whatever interrupts it, no pose file lies beside the record of a source that is not its own. A pose
    file without a record counts as current where it is newer than its media.
    """
    record, about = pose.with_name(f"{pose.name}.source.json"), media.stat()
    before = _read(record)
    same_model = before is None or before.get("by", _FIRST) == by
    same_file = before is not None and (before.get("bytes"), before.get("mtime_ns")) == (
        about.st_size,
        about.st_mtime_ns,
    )
    if same_file and same_model:
        return
    found = sha256(media)
    newer = before is None and pose.exists() and pose.stat().st_mtime_ns >= about.st_mtime_ns
    if not newer and (before is None or before.get("sha256") != found or not same_model):
        pose.unlink(missing_ok=True)
    facts = {"bytes": about.st_size, "mtime_ns": about.st_mtime_ns, "sha256": found, "by": by}
    write_text(record, json.dumps(facts))


def _read(record: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
