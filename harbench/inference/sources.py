"""What can be predicted on: the grammar of sources, and the frames of one as a run's caches would store them."""

from __future__ import annotations

import glob
import io
import itertools
import re
import sys
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harbench.datasets.parse import PATH_COLUMNS
from harbench.errors import MediaError
from harbench.files import read_csv
from harbench.frames.buffer import Stored
from harbench.frames.decode import DecodedMedia, Frame
from harbench.frames.decoders import decoder_for
from harbench.frames.detectors import Finder, Opener
from harbench.frames.streams import STREAMS, Encoded
from harbench.recipe import CacheConfig
from harbench.records import IMAGE_SUFFIXES, VIDEO_SUFFIXES

JOINTS = (".npy", ".skeleton", ".mat")
"""Files of joints, as `harbench.frames.poses.read_pose` takes them."""
_ADDRESS = re.compile(r"(rtsps?|rtmp|https?|udp|tcp|loop)://", re.I)
_LISTS = (".txt", ".csv")
_EXPECTED = (
    "expected a video, a picture, joints, a folder, a pattern, a list (.txt, .csv), a camera number or an address"
)


def is_live(source: str) -> bool:
    """A camera number, or an address: `rtsp://...`, `http://...`, or `loop://FILE`, a file played at its own rate."""
    return source.isdigit() or _ADDRESS.match(source) is not None


@contextmanager
def expanded_sources(source: str) -> Iterator[list[Path]]:
    """The files that a source that is not live means; of `-`, standard input, for as long as the context is open.

    Raises MediaError where there is nothing.
    """
    if source != "-":
        yield _files(source)
        return
    content = sys.stdin.buffer.read()
    if not content:
        raise MediaError("-: expected a video or a picture on standard input, found nothing")
    with tempfile.TemporaryDirectory(prefix="harbench-") as folder:
        path = Path(folder, "stdin" + _suffix_of(content))
        path.write_bytes(content)
        yield [path]


def _suffix_of(content: bytes) -> str:
    """A picture by its first bytes; else FFmpeg finds out what it is."""
    known = {b"\xff\xd8": ".jpg", b"\x89PNG": ".png", b"BM": ".bmp", b"II*\0": ".tif", b"MM\0*": ".tif"}
    return next((suffix for start, suffix in known.items() if content.startswith(start)), ".mp4")


def _files(source: str) -> list[Path]:
    path = Path(source).expanduser()
    if path.is_dir():
        found = [each for each in sorted(path.rglob("*")) if _is_media(each)]
        if not found:
            raise MediaError(f"{source}: expected videos, pictures or joints in this folder, found none")
        return found
    if path.is_file():
        return _listed(path) if path.suffix.lower() in _LISTS else [path]
    matched = [Path(each) for each in sorted(glob.glob(source, recursive=True))]  # noqa: PTH207  a pattern may be absolute
    if found := [each for each in matched if each.is_file()]:
        return found
    raise MediaError(f"{source}: {_EXPECTED}; found nothing")


def _is_media(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES, *JOINTS)


def _listed(path: Path) -> list[Path]:
    """The files of a list: one a line, or the column of a table that names them; relative to the list, or to here."""
    if path.suffix.lower() == ".csv":
        table = read_csv(path, PATH_COLUMNS, {1: ("path",), 2: ("path", "label")})
        names = table[next(name for name in PATH_COLUMNS if name in table.columns)].tolist()
    else:
        try:
            names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        except UnicodeDecodeError as error:
            raise MediaError(f"{path}: expected a list of files in UTF-8, found {error}") from None
    if not names:
        raise MediaError(f"{path}: expected a file name a line, found an empty list")
    return [each if (each := path.parent / name).exists() else Path(name) for name in names]


# -------------------------------------------------------------------------------------------------------------- frames
@dataclass(frozen=True)
class Media:
    """An open source: its frames as each of several caches would store them, in step."""

    frames: Iterator[tuple[Stored, ...]]
    """Of each frame what each cache stores. Raises MediaError where it cannot be decoded."""
    facts: tuple[Encoded, ...]
    """Of each cache; size and frame rate are there once a frame is."""


@contextmanager
def open_media(path: Path, caches: Sequence[CacheConfig], find_joints: Opener | None = None) -> Iterator[Media]:
    """The frames of a file as `caches` store them.

    `find_joints` opens what finds joints in pictures, for poses from pixels.

    Raises MediaError where the file cannot be decoded, or is of a kind that the model does not read.
    """
    _check_kind(path, caches, find_joints)
    facts = tuple(Encoded() for _ in caches)
    with ExitStack() as stack:
        streams: list[Generator[Stored, None, None]] = []
        for config, encoded in zip(caches, facts, strict=True):
            if config.stream == "pose" and path.suffix.lower() not in JOINTS:
                assert find_joints is not None
                decoded = stack.enter_context(decoder_for(path)(path))
                find = stack.enter_context(find_joints(path.suffix.lower() in IMAGE_SUFFIXES, decoded.fps))
                streams.append(joint_frames(decoded, find, encoded))
            else:
                streams.append(stack.enter_context(closing(_stored(path, config, encoded))))
        yield Media(zip(*streams, strict=False), facts)


def live_media(decoded: DecodedMedia, caches: Sequence[CacheConfig], find: Finder | None = None) -> Media:
    """The frames of a stream, which come once, as `caches` store them. `find` finds joints in a picture."""
    facts = tuple(Encoded() for _ in caches)
    copies = itertools.tee(decoded.frames, len(caches))
    streams: list[Iterator[Stored]] = []
    for config, encoded, frames in zip(caches, facts, copies, strict=True):
        mine = DecodedMedia(frames, decoded.fps, decoded.decoder)
        if config.stream == "pose":
            assert find is not None
            streams.append(joint_frames(mine, find, encoded))
        else:
            streams.append(
                STREAMS[config.stream].encode(Path("live"), config, lambda _, m=mine: nullcontext(m), encoded)
            )
    return Media(zip(*streams, strict=False), facts)


def _stored(path: Path, config: CacheConfig, encoded: Encoded) -> Generator[Stored, None, None]:
    for content in STREAMS[config.stream].encode(path, config, None, encoded):
        if isinstance(content, bytes) and content.startswith(b"\x93NUMPY"):
            yield from np.load(io.BytesIO(content), allow_pickle=False)
        else:
            yield content


def joint_frames(decoded: DecodedMedia, find: Finder, encoded: Encoded) -> Generator[Stored, None, None]:
    """The joints `[M, V, C]` that `find` makes of every frame."""
    encoded.fps, encoded.decoder = decoded.fps, decoded.decoder
    frame: Frame
    for frame in decoded.frames:
        encoded.frames += 1
        encoded.times.append(np.nan if frame.time is None else frame.time)
        yield find(frame.image)


def _check_kind(path: Path, caches: Sequence[CacheConfig], find_joints: Opener | None) -> None:
    joints, picture = path.suffix.lower() in JOINTS, path.suffix.lower() in IMAGE_SUFFIXES
    if not path.is_file():
        raise MediaError("there is no such file")
    if joints and any(config.stream != "pose" for config in caches):
        raise MediaError("this model reads pictures, and a file of joints has none")
    if picture and any(config.stream == "flow" for config in caches):
        raise MediaError("this model reads motion, and a picture has none: expected a video")
    if not joints and find_joints is None and any(config.stream == "pose" for config in caches):
        raise MediaError("this model reads joints: give a file of them (.npy, .skeleton), or --pose-model to find them")
