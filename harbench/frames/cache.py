"""Frame caches: built once from media, read at random through mmap.

Layout on disk: `harbench/frames/blocks.py`. rgb is stored as numbered JPEGs (`tar xf` gives what other tools read) or as
one raw array a media, poses as one array a media. Resizing is to a short side, down only.
"""

from __future__ import annotations

import io
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harbench import paths
from harbench.errors import CacheError
from harbench.frames.blocks import BLOCK, Entry, block_of, padded, read_entries, tar_path
from harbench.frames.fill import Decoding, Event, Job, fill_blocks, source_of
from harbench.frames.streams import STREAMS, stream_of
from harbench.recipe import CacheConfig
from harbench.records import CacheReport, FrameCache, MediaInfo, Sample, Track, silent

_LOG = logging.getLogger(__name__)
_FRAMES = {"video": 186, "sequence": 480, "image": 1}
"""Mean frames of a media: UCF-101's for videos, KTH's for media that hold sequences."""
_DEFAULT = Decoding()
Members = tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32]]
_BEHIND = 4096
"""Bytes that a JPEG decoder is given beyond a frame: libjpeg-turbo leaves its fast path when fewer remain (5 % of time)."""


# ------------------------------------------------------------------------------------------------------------ building
def build_cache(
    media: Mapping[str, Path],
    dest: Path,
    config: CacheConfig,
    decoding: Decoding = _DEFAULT,
    *,
    order: Sequence[str] | None = None,
    track: Track = silent,
) -> CacheReport:
    """Store `media` (official path -> file) in the cache folder `dest`; what is there already is left alone.

    `order` is the official order of all media of the data set (default: that of `media`): it decides the blocks, so that
    a second split only adds. A media that cannot be decoded is reported with the decoder's own words and stops nothing,
    even when it kills the process that decodes it, or hangs. What another decoder stored before is left alone. Two
    processes may build the same cache: each takes the blocks that the other has not.

    Raises CacheError when the cache cannot be written (the disk is full); what was finished stays.
    """
    dest.mkdir(parents=True, exist_ok=True)
    place = {name: index // BLOCK for index, name in enumerate(order if order is not None else media)}
    blocks: dict[int, list[tuple[str, Path]]] = defaultdict(list)
    for name, path in media.items():
        blocks[place[name]].append((name, path))
    events: dict[str, Event] = {}
    jobs = []
    for block in sorted(blocks):
        here, missing = read_entries(dest, block), []
        for name, path in blocks[block]:
            if name in here and here[name].source == source_of(path):
                events[name] = Event("reused", name, here[name].note)
            else:
                missing.append((name, path))
        if missing:
            jobs.append(Job(dest, block, tuple(missing), config, decoding))
    total = sum(len(job.media) for job in jobs)
    with closing(fill_blocks(jobs, decoding.workers)) as filled:
        for event in track(filled, f"caching {config.name}", total):
            events[event.media] = event
    ordered = [events[name] for name in media if name in events]
    return CacheReport(
        tuple(event.media for event in ordered if event.what == "done"),
        tuple(event.media for event in ordered if event.what == "reused"),
        {event.media: event.reason for event in ordered if event.what == "failed"},
        {event.media: event.reason for event in ordered if event.what != "failed" and event.reason},
    )


# ------------------------------------------------------------------------------------------------------------- reading
class MappedCache:
    """An open cache. Its index is a handful of arrays, no Python object a media or a frame; pickled, it is its path.

    `read` returns uint8 [n, H, W, 3] RGB for pixels and float32 [n, M, V, C] for poses. Each read maps just the bytes it
    needs and lets go of them: neither open files nor mapped memory grow with what was read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        found: dict[bytes, tuple[int, Entry]] = {}
        for path in sorted(folder.glob("frames-*.idx")):
            block = block_of(path)
            found |= {_name(entry.media): (block, entry) for entry in read_entries(folder, block).values()}
        self._names = np.array(sorted(found), np.bytes_)
        ordered = [found[name] for name in sorted(found)]
        self._facts = np.array(
            [(k, e.frames, e.width, e.height, e.source_width, e.source_height, e.channels) for k, e in ordered],
            np.int32,
        ).reshape(-1, 7)
        self._fps = np.array([entry.fps for _, entry in ordered], np.float64)
        self._notes = {name: entry.note for name, (_, entry) in found.items() if entry.notes}
        self._decoders = np.array([entry.decoder.encode() for _, entry in ordered], np.bytes_)
        self._times_end = np.cumsum([0, *(len(entry.times) for _, entry in ordered)], dtype=np.int64)
        self._times = np.array([time for _, entry in ordered for time in entry.times], np.float64)
        members = [_members(entry) for _, entry in ordered]
        self._first = np.cumsum([0, *(len(offsets) for offsets, _ in members)], dtype=np.int64)
        self._offsets = np.concatenate([np.zeros(0, np.int64), *(offsets for offsets, _ in members)])
        self._sizes = np.concatenate([np.zeros(0, np.uint32), *(sizes for _, sizes in members)])
        self._maps: dict[int, npt.NDArray[np.uint8]] = {}

    def __reduce__(self) -> tuple[type[MappedCache], tuple[Path]]:
        return type(self), (self.folder,)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, media: object) -> bool:
        return isinstance(media, str) and self._find(media) is not None

    def info(self, media: str) -> MediaInfo:
        """Frames, frame rate, size and decoder of a media. Raises CacheError when it is not cached."""
        row = self._row(media)
        _, frames, width, height, *source, _ = self._facts[row].tolist()
        decoder = self._decoders[row].decode()
        first, end = self._times_end[row : row + 2].tolist()
        times = self._times[first:end] if end > first else None
        size = source[0], source[1]
        note = self._notes.get(_name(media), "")
        return MediaInfo(frames, float(self._fps[row]), width, height, size, decoder, times, note)

    def read(self, media: str, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.generic]:
        """Some frames of a media, in the order of `indices`, each decoded once however often it is asked for.

        Raises CacheError when it is not cached, was damaged since, or has no such frame.
        """
        row = self._row(media)
        block, frames, width, height, *_, channels = self._facts[row].tolist()
        if len(indices) == 0 or indices.min() < 0 or indices.max() >= frames:
            raise CacheError(f"{media} has {frames} frames; asked for {indices.tolist()}")
        first, end = self._first[row : row + 2].tolist()
        try:
            if end - first == 1 and (array := self._array(block, first)) is not None:
                return array[indices]
            wanted, places_of = np.unique(indices, return_inverse=True)
            pictures = self._pictures(block, first + wanted, (height, width), channels)
            return pictures if np.array_equal(wanted, indices) else pictures[places_of]
        except (OSError, ValueError) as error:
            raise CacheError(
                f"{media} was damaged in {tar_path(self.folder, block)} ({error}); delete that file and prepare again"
            ) from None

    def stored(self, media: str) -> list[bytes]:
        """The members of a media as they are stored: a JPEG a frame, or one .npy file. Raises CacheError as `info` does."""
        row = self._row(media)
        block, (first, end) = int(self._facts[row, 0]), self._first[row : row + 2].tolist()
        starts, sizes = self._offsets[first:end].tolist(), self._sizes[first:end].tolist()
        return [self._bytes(block, start, start + size).tobytes() for start, size in zip(starts, sizes, strict=True)]

    def _pictures(
        self, block: int, rows: npt.NDArray[np.int64], size: tuple[int, int], channels: int
    ) -> npt.NDArray[np.uint8]:
        """The JPEG members at ascending `rows` of the member columns, decoded, [n, H, W, channels]."""
        starts, sizes = self._offsets[rows].tolist(), self._sizes[rows].tolist()
        content = self._bytes(block, starts[0], starts[-1] + sizes[-1])
        begins = [start - starts[0] for start in starts]
        jpegs = (content[at : at + length + _BEHIND] for at, length in zip(begins, sizes, strict=True))
        return stream_of(content, channels).decode(jpegs, len(rows), size)

    def _array(self, block: int, row: int) -> npt.NDArray[np.generic] | None:
        """The member at `row` as an array over mapped bytes; None when it is no .npy file."""
        start = int(self._offsets[row])
        content = self._bytes(block, start, start + int(self._sizes[row]))
        if content[:6].tobytes() != b"\x93NUMPY":
            return None
        head = io.BytesIO(content[:1024].tobytes())
        np.lib.format.read_magic(head)
        shape, _, dtype = np.lib.format.read_array_header_1_0(head)
        return content[head.tell() :].view(dtype).reshape(shape)

    def _find(self, media: str) -> int | None:
        name = _name(media)
        row = int(np.searchsorted(self._names, np.bytes_(name)))
        return row if row < len(self._names) and self._names[row] == name else None

    def _row(self, media: str) -> int:
        row = self._find(media)
        if row is None:
            raise CacheError(f"{media} is not in the cache {self.folder}; `harbench prepare` adds it")
        return row

    def _bytes(self, block: int, first: int, last: int) -> npt.NDArray[np.uint8]:
        """Bytes [first, last) of a block's tar, mapped. A mapping is kept: its pages are the kernel's, not the process's."""
        mapped = self._maps.get(block)
        if mapped is None or len(mapped) < last:  # not mapped yet, or the tar has grown since
            mapped = self._maps[block] = np.memmap(tar_path(self.folder, block), np.uint8, "r")
        return np.asarray(mapped)[first:last]


def _name(media: str) -> bytes:
    return media.encode("utf-8", "surrogateescape")


def _members(entry: Entry) -> Members:
    """Where the members of a media begin in the tar, and how many bytes they have."""
    sizes = np.array(entry.sizes, np.int64)
    offsets = entry.start + np.concatenate(([0], np.cumsum(padded(sizes[:-1]) + entry.header)))
    return offsets, sizes.astype(np.uint32)


def open_cache(dest: Path) -> MappedCache:
    """Open the cache in the folder `dest`. Raises CacheError when there is none."""
    if not _is_cache(dest):
        raise CacheError(f"there is no frame cache in {dest}; `harbench prepare` makes it")
    return MappedCache(dest)


def find_cache(home: Path, dataset: str, config: CacheConfig, *, make: str, name: str = "") -> Path:
    """The folder of the cache that a run of `config` reads: the same one, else the smallest of those that serve.

    `name` is the cache that an unfinished run was reading: it goes on with that one, whatever else is there.

    Raises CacheError, with `make`, the command that makes it, when there is none.
    """
    caches = paths.cache_folder(home, dataset, "")
    if name:
        if not _is_cache(caches / name):
            raise CacheError(
                f"this run was reading the frame cache {name}, and it is gone from {caches}.\n"
                "Prepare that one again, or repeat the run from the beginning with --force."
            )
        return caches / name
    found = []
    for folder in caches.iterdir() if caches.is_dir() else ():
        there = CacheConfig.parse(folder.name)
        if there is not None and there.serves(config) and _is_cache(folder):
            found.append((folder.name != config.name, there.pixels, folder))
    if not found:
        raise CacheError(
            f"{dataset} has no frame cache {config.name}, nor one with more pixels or a better encoding, under {caches}.\n"
            f"Make it:  {make}"
        )
    return min(found)[-1]


def _is_cache(folder: Path) -> bool:
    return any(folder.glob("frames-*.idx"))


def estimate_cache_bytes(media: int, config: CacheConfig, *, unit: str) -> int:
    """Rough size of a cache of `media` media, for people; from constants seen on UCF-101, at 4:3."""
    stream = STREAMS[config.stream]
    if not stream.pictures:
        return media * 40_000
    side = 256 if config.short_side == "native" else config.short_side
    return int(media * _FRAMES[unit] * side * side * 4 / 3 * stream.pixel_bytes[config.encoding])


def estimate_cache_seconds(media: int, config: CacheConfig, *, unit: str, workers: int) -> float:
    """Rough time to fill a cache, for people: frames of 320x240, on as many cores as workers."""
    return media * _FRAMES[unit] * STREAMS[config.stream].frame_seconds / workers


def cut_ranges(samples: Iterable[Sample], cache: FrameCache) -> dict[str, str]:
    """Sample id -> words, for every frame range that ends beyond what was decoded (KTH's person01_boxing_d4).

    Such a sample is read up to the last frame there is; one that begins beyond it cannot be read, and counts as wrong.
    """
    return {
        sample.sample_id: f"frames {sample.start or 0} to {sample.end - 1}, decoded up to {frames - 1}"
        for sample in samples
        if sample.end is not None and sample.media in cache and (frames := cache.info(sample.media).frames) < sample.end
    }


def warn_of_cut_ranges(samples: Iterable[Sample], cache: FrameCache) -> None:
    """Log the samples of `cut_ranges`."""
    cut = [f"{sample_id} ({words})" for sample_id, words in cut_ranges(samples, cache).items()]
    if cut:
        _LOG.warning("frame ranges cut to what was decoded (%d): %s", len(cut), ", ".join(cut[:10]))
