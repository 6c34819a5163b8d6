"""A user's own folder under a name: what `prepare DIR --name NAME` does before it goes on as for any data set."""

from __future__ import annotations

from pathlib import Path

from harbench import paths
from harbench.datasets.tables import dataset_names
from harbench.errors import DatasetError
from harbench.prepare.archives import is_archive
from harbench.prepare.match import link_media
from harbench.prepare.own import OwnOptions
from harbench.prepare.own_csv import read_own
from harbench.prepare.own_folders import write_frames
from harbench.prepare.own_write import write_own
from harbench.prepare.pose_axes import write_poses
from harbench.prepare.unpack import unpack
from harbench.records import DatasetSpec, Track

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
