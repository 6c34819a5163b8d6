"""Frame caches: built once from media, read at random through mmap.

Layout on disk: `harbench/frames/blocks.py`. rgb is stored as numbered JPEGs (`tar xf` gives what other tools read) or as
one raw array a media, poses as one array a media. Resizing is to a short side, down only.
"""

from __future__ import annotations

import errno
import io
import multiprocessing
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import numpy.typing as npt

from harbench import places
from harbench.errors import CacheError, MediaError
from harbench.frames.blocks import BLOCK, BlockWriter, Entry, npy_bytes, owned, read_entries, tar_path
from harbench.frames.decode import Image, decode_image, decoder_for, frame_rate
from harbench.frames.pose import read_pose
from harbench.recipe import CacheConfig
from harbench.records import CacheReport, MediaInfo, Track, silent

_BYTES_PER_PIXEL = {"jpeg": 0.30, "raw": 3.0}
"""Seen on UCF-101 at quality 90; for estimates only."""
_FRAMES = {"video": 186, "sequence": 480, "image": 1}
"""Mean frames of a media: UCF-101's for videos, KTH's for media that hold sequences."""


# ------------------------------------------------------------------------------------------------------------ building
@dataclass(frozen=True)
class _Job:
    """One block to fill."""

    folder: Path
    block: int
    media: tuple[tuple[str, Path], ...]
    config: CacheConfig


def build_cache(
    media: Mapping[str, Path],
    dest: Path,
    config: CacheConfig,
    *,
    order: Sequence[str] | None = None,
    workers: int = 2,
    track: Track = silent,
) -> CacheReport:
    """Store `media` (official path -> file) in the cache folder `dest`; what is there already is left alone.

    `order` is the official order of all media of the data set (default: that of `media`): it decides the blocks, so that
    a second split only adds. A media that cannot be decoded is reported with the decoder's own words and stops nothing.
    Two processes may build the same cache: each takes the blocks that the other has not.

    Raises CacheError when the disk is full; what was finished stays.
    """
    dest.mkdir(parents=True, exist_ok=True)
    place = {name: index // BLOCK for index, name in enumerate(order if order is not None else media)}
    blocks: dict[int, list[tuple[str, Path]]] = defaultdict(list)
    for name, path in media.items():
        blocks[place[name]].append((name, path))
    done: list[str] = []
    reused: list[str] = []
    jobs = []
    for block in sorted(blocks):
        here = read_entries(dest, block)
        there = [name for name, path in blocks[block] if name in here and here[name].source == _source(path)]
        reused += there
        missing = tuple((name, path) for name, path in blocks[block] if name not in set(there))
        if missing:
            jobs.append(_Job(dest, block, missing, config))
    failed: dict[str, str] = {}
    for report in track(_reports(jobs, workers), f"caching {config.name}", len(media) - len(reused)):
        done += report.done
        reused += report.reused
        failed |= report.failed
    position = {name: index for index, name in enumerate(media)}
    done.sort(key=position.__getitem__)
    reused.sort(key=position.__getitem__)
    return CacheReport(tuple(done), tuple(reused), {name: failed[name] for name in media if name in failed})


def _reports(jobs: Sequence[_Job], workers: int) -> Iterator[CacheReport]:
    """One report a media, block by block; blocks that another process owns are waited for last."""
    for wait in (False, True):
        busy: list[_Job] = []
        for job, reports in _filled(jobs, workers, wait):
            if reports is None:
                busy.append(job)
            else:
                yield from reports
        jobs = busy


def _filled(jobs: Sequence[_Job], workers: int, wait: bool) -> Iterator[tuple[_Job, list[CacheReport] | None]]:
    if workers <= 1 or len(jobs) <= 1:
        for job in jobs:
            yield job, fill_block(job, wait)
        return
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(fill_block, job, wait): job for job in jobs}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def fill_block(job: _Job, wait: bool) -> list[CacheReport] | None:
    """Add the missing media of one block; None when another process owns it and `wait` is not set."""
    cv2.setNumThreads(1)
    reports = []
    with owned(job.folder, job.block, wait=wait) as mine:
        if not mine:
            return None
        writer = BlockWriter(job.folder, job.block)
        for media, path in job.media:
            source = _source(path)
            known = writer.entries.get(media)
            if known is not None and known.source == source:
                reports.append(CacheReport((), (media,), {}))
                continue
            try:
                members, facts = _encode(media, path, job.config)
                writer.append(media, members, {**facts, "source": source})
                reports.append(CacheReport((media,), (), {}))
            except MediaError as error:
                reports.append(CacheReport((), (), {media: str(error)}))
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise CacheError(
                        f"the disk is full: {job.folder} needs more room. What was finished is kept; free some space and "
                        "repeat the command"
                    ) from None
                reports.append(CacheReport((), (), {media: f"cannot be read: {error.strerror or error}"}))
    return reports


def _source(path: Path) -> tuple[int, int]:
    try:
        about = path.stat()
    except OSError:
        return 0, 0
    return about.st_size, about.st_mtime_ns


def _encode(media: str, path: Path, config: CacheConfig) -> tuple[list[tuple[str, bytes]], dict[str, object]]:
    """The members of a media, and the facts of its index line."""
    stem = str(PurePosixPath(media).with_suffix(""))
    if config.stream == "pose":
        pose = read_pose(path)
        facts: dict[str, object] = {"frames": len(pose), "fps": 0.0, "decoder": "numpy"}
        sizes = dict.fromkeys(("width", "height", "source_width", "source_height"), 0)
        return [(f"{stem}.npy", npy_bytes(pose))], facts | sizes
    if config.stream != "rgb":
        raise CacheError(f"stream {config.stream} cannot be cached yet; rgb and pose can")
    frames: list[bytes] = []
    images: list[Image] = []
    times: list[float] = []
    size = source_size = (0, 0)
    with decoder_for(path)(path) as decoded:
        for frame in decoded.frames:
            image = shrink(frame.image, config.short_side)
            if source_size not in ((0, 0), frame.image.shape[:2]):
                raise MediaError(
                    f"its frames change size from {source_size} to {frame.image.shape[:2]} (height, width)"
                )
            size, source_size = image.shape[:2], frame.image.shape[:2]
            times.append(np.nan if frame.time is None else frame.time)
            if config.encoding == "raw":
                images.append(image)
            else:
                untouched = decoded.original if image is frame.image else None
                frames.append(untouched or encode_jpeg(image, config.quality))
        fps = frame_rate(decoded.fps, np.array(times)) if decoded.fps else 0.0
    if not times:
        raise MediaError("not one frame of it decodes")
    facts = {
        "frames": len(times), "fps": fps, "width": size[1], "height": size[0], "source_width": source_size[1],
        "source_height": source_size[0], "decoder": decoded.decoder, "notes": tuple(decoded.notes),
    }  # fmt: skip
    if config.encoding == "raw":
        return [(f"{stem}.npy", npy_bytes(np.stack(images)))], facts
    return [(f"{stem}/{number:06d}.jpg", data) for number, data in enumerate(frames, 1)], facts


def shrink(image: Image, short_side: int | str) -> Image:
    """Resize to a short side in pixels, never up; `native` is untouched."""
    height, width = image.shape[:2]
    if short_side == "native" or min(height, width) <= int(short_side):
        return image
    scale = int(short_side) / min(height, width)
    size = (round(width * scale), round(height * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def encode_jpeg(image: Image, quality: int) -> bytes:
    """RGB uint8 [H, W, 3] as JPEG."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise MediaError("OpenCV cannot encode it as JPEG")
    return data.tobytes()


# ------------------------------------------------------------------------------------------------------------- reading
class MappedCache:
    """An open cache. Its index is a handful of arrays, no Python object a media or a frame; pickled, it is its path.

    `read` returns uint8 [n, H, W, 3] RGB for pixels and float32 [n, M, V, C] for poses.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        found: dict[str, tuple[int, Entry]] = {}
        for path in sorted(folder.glob("frames-*.idx")):
            block = int(path.stem.removeprefix("frames-"))
            found |= {media: (block, entry) for media, entry in read_entries(folder, block).items()}
        ordered = sorted((media.encode("utf-8", "surrogateescape"), media) for media in found)
        rows = [found[media] for _, media in ordered]
        self._names = np.array([name for name, _ in ordered], dtype=np.bytes_)
        self._block = np.array([block for block, _ in rows], np.int32)
        self._start = np.array([entry.start for _, entry in rows], np.int64)
        self._header = np.array([entry.header for _, entry in rows], np.int32)
        self._facts = np.array(
            [(e.frames, e.width, e.height, e.source_width, e.source_height) for _, e in rows], np.int32
        )
        self._fps = np.array([entry.fps for _, entry in rows], np.float64)
        self._first = np.cumsum([0, *(len(entry.sizes) for _, entry in rows)], dtype=np.int64)
        self._sizes = np.fromiter((size for _, entry in rows for size in entry.sizes), np.int64)
        self._maps: dict[int, npt.NDArray[np.uint8]] = {}

    def __reduce__(self) -> tuple[type[MappedCache], tuple[Path]]:
        return type(self), (self.folder,)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, media: object) -> bool:
        return isinstance(media, str) and self._find(media) is not None

    def info(self, media: str) -> MediaInfo:
        """Frames, frame rate and size of a media. Raises CacheError when it is not cached."""
        row = self._row(media)
        frames, width, height, *source = (int(value) for value in self._facts[row])
        return MediaInfo(frames, float(self._fps[row]), width, height, (source[0], source[1]))

    def read(self, media: str, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.generic]:
        """Some frames of a media, in the order of `indices`. Raises CacheError when it is not cached or was damaged."""
        row = self._row(media)
        first, count = int(self._first[row]), int(self._first[row + 1] - self._first[row])
        if len(indices) and not (indices.min() >= 0 and indices.max() < self._facts[row, 0]):
            raise CacheError(f"{media} has {self._facts[row, 0]} frames; asked for {indices.min()} to {indices.max()}")
        data, start = self._map(int(self._block[row])), int(self._start[row])
        if count == 1:
            content = data[start : start + int(self._sizes[first])]
            if content[:6].tobytes() == b"\x93NUMPY":
                return _array_in(content)[indices]
        sizes, header = self._sizes[first : first + count], int(self._header[row])
        offsets = start + np.concatenate(([0], np.cumsum(-(-sizes[:-1] // 512) * 512 + header)))
        pictures = {
            int(index): decode_image(data[offsets[index] : offsets[index] + sizes[index]])
            for index in np.unique(indices)
        }
        return np.stack([pictures[int(index)] for index in indices])

    def _find(self, media: str) -> int | None:
        name = media.encode("utf-8", "surrogateescape")
        row = int(np.searchsorted(self._names, np.bytes_(name)))
        return row if row < len(self._names) and self._names[row] == name else None

    def _row(self, media: str) -> int:
        row = self._find(media)
        if row is None:
            raise CacheError(f"{media} is not in the cache {self.folder}; `harbench prepare` adds it")
        return row

    def _map(self, block: int) -> npt.NDArray[np.uint8]:
        if block not in self._maps:
            self._maps[block] = np.memmap(tar_path(self.folder, block), np.uint8, "r")
        return self._maps[block]


def _array_in(content: npt.NDArray[np.uint8]) -> npt.NDArray[np.generic]:
    """The array of a mapped .npy file; nothing is copied."""
    head = io.BytesIO(content[:1024].tobytes())
    version = np.lib.format.read_magic(head)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(head)
    return content[head.tell() :].view(dtype).reshape(shape)


def open_cache(dest: Path) -> MappedCache:
    """Open the cache in the folder `dest`. Raises CacheError when there is none."""
    if not any(dest.glob("frames-*.idx")):
        raise CacheError(f"there is no frame cache in {dest}; `harbench prepare` makes it")
    return MappedCache(dest)


def find_cache(home: Path, dataset: str, config: CacheConfig) -> Path:
    """The folder of a cache that serves `config`: the same, or one of a larger short side (pixels are only resized down).

    Raises CacheError with the command that makes it when there is none.
    """
    exact = places.cache_folder(home, dataset, config.name)
    larger = [] if config.stream == "pose" else _larger_caches(exact.parent, config)
    for folder in (exact, *larger):
        if any(folder.glob("frames-*.idx")):
            return folder
    asked = "--stream pose" if config.stream == "pose" else f"--short-side {config.short_side}"
    quality = f" --quality {config.quality}" if config.encoding == "jpeg" and config.quality != 90 else ""
    raise CacheError(
        f"{dataset} has no frame cache {config.name} or larger under {exact.parent}.\n"
        f"Make it:  harbench prepare {dataset} {asked}{quality}"
    )


def _larger_caches(folder: Path, config: CacheConfig) -> list[Path]:
    """Caches of the same stream with at least the short side and quality asked for, the smallest first."""
    if config.short_side == "native" or not folder.is_dir():
        return []
    found = []
    for path in folder.iterdir():
        stream, encoding, side = (*path.name.split("-"), "", "")[:3]
        pixels = 1 << 30 if side == "native" else int(side) if side.isdigit() else 0
        good = encoding == "raw" or (
            encoding.removeprefix("jpeg").isdigit() and int(encoding.removeprefix("jpeg")) >= config.quality
        )
        if stream == config.stream and good and pixels >= config.short_side:
            found.append((pixels, encoding, path))
    return [path for _, _, path in sorted(found)]


def estimate_cache_bytes(media: int, config: CacheConfig, *, unit: str) -> int:
    """Rough size of a cache of `media` media, for people; from constants seen on UCF-101, at 4:3."""
    if config.stream == "pose":
        return media * 40_000
    side = 256 if config.short_side == "native" else int(config.short_side)
    return int(media * _FRAMES[unit] * side * side * 4 / 3 * _BYTES_PER_PIXEL[config.encoding])
