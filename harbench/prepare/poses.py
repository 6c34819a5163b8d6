"""`prepare --stream pose` of media that carry no joints: poses are looked for in their pixels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from harbench import paths
from harbench.records import DatasetSpec, Track

if TYPE_CHECKING:
    from harbench.frames.decode import Decoder
    from harbench.recipe import CacheConfig


def check_poses(spec: DatasetSpec, cache: CacheConfig, home: Path) -> None:
    """Raise MediaError, with what to do, where poses have to be found and nothing here can find them."""
    from harbench.frames.landmarks import BUNDLE, check_landmarker
    from harbench.frames.streams import STREAMS
    from harbench.prepare.local import carries_poses

    if not STREAMS[cache.stream].pictures and not carries_poses(spec):
        check_landmarker(paths.models_folder(home) / BUNDLE)


def find_poses(
    spec: DatasetSpec, media: Mapping[str, Path], home: Path, *, decoder: Decoder, workers: int, track: Track
) -> dict[str, str]:
    """Write a pose file for each media that carries none; those that could not be decoded, with the reason."""
    from harbench.frames.landmarks import BUNDLE, extract_poses
    from harbench.prepare.local import carries_poses, found_poses

    if carries_poses(spec):
        return {}
    files = {media[name]: pose for name, pose in found_poses(spec, media, home).items()}
    bundle = paths.models_folder(home) / BUNDLE
    failed = extract_poses(files, bundle, decoder=decoder, workers=workers, track=track)
    return {name: failed[path] for name, path in media.items() if path in failed}
