"""Tables about frames: `decode`, `prepare`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from harbench.diagnose.bench.race import FRAMES, SIDE, STRIDE, BenchTable, Options, race
from harbench.frames.cache import build_cache, open_cache
from harbench.frames.fill import Decoding
from harbench.frames.streams import encode
from harbench.recipe import CacheConfig

_MEDIA = 160
"""Media of a preparation, at least about so many."""
Reader = Callable[[str, npt.NDArray[np.int64]], npt.NDArray[Any]]


def decode(options: Options) -> BenchTable:
    """Random clips from caches, from folders of JPEGs, and from the videos, in one thread."""
    videos, cache = options.videos, options.videos.cache
    build_cache(videos.files, options.work / "raw", CacheConfig(short_side=SIDE, encoding="raw"))
    raw = open_cache(options.work / "raw")
    rng = np.random.default_rng(0)
    asked = []
    for name in rng.choice(list(videos.files), options.clips).tolist():
        start = rng.integers(cache.info(name).frames - FRAMES * STRIDE)
        asked.append((name, start + STRIDE * np.arange(FRAMES)))
    readers: dict[str, Reader] = {"JPEG cache": cache.read, "raw cache": raw.read, **_other_readers(options)}
    own = [cache.read(*each).astype(np.int16) for each in asked[:8]]
    notes = []
    for name, read in list(readers.items())[1:]:
        apart = [np.abs(read(*each).astype(np.int16) - frames).mean() for each, frames in zip(asked, own, strict=False)]
        notes.append(f"{name}: pixels differ by {np.mean(apart):.1f} of 255 on average from the JPEG cache")
    for name in ("cache", "raw", "folders"):
        size = sum(path.stat().st_size for path in (options.work / name).rglob("*") if path.is_file())
        notes.append(f"{name}: {size / 1e6:.1f} MB")
    notes.append(f"videos: {sum(path.stat().st_size for path in videos.files.values()) / 1e6:.1f} MB")
    contenders = {name: partial(_read_all, read, asked) for name, read in readers.items()}
    return BenchTable(
        "decode",
        f"{FRAMES} frames, stride {STRIDE}, short side {SIDE}, one thread; {len(asked)} clips of {len(videos.files)} videos",
        race(contenders, options.rounds, len(asked)),
        tuple(notes),
    )


def _read_all(read: Reader, asked: Sequence[tuple[str, npt.NDArray[np.int64]]]) -> None:
    for name, indices in asked:
        read(name, indices)


def _other_readers(options: Options) -> dict[str, Reader]:
    """The same clips as others read them: those whose library is installed."""
    import av
    import cv2
    import simplejpeg

    files, cache = options.videos.files, options.videos.cache
    sizes = {name: (cache.info(name).width, cache.info(name).height) for name in files}
    folders = options.work / "folders"
    arrays = {}
    for name in files:
        (folders / name).mkdir(parents=True)
        for number, content in enumerate(cache.stored(name)):
            (folders / name / f"{number}.jpg").write_bytes(content)
        arrays[name] = cache.read(name, np.arange(cache.info(name).frames))

    def jpegs(name: str, indices: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        contents = ((folders / name / f"{index}.jpg").read_bytes() for index in indices.tolist())
        return np.stack([simplejpeg.decode_jpeg(content) for content in contents])

    def pyav(name: str, indices: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        wanted, found = set(indices.tolist()), []
        with av.open(str(files[name])) as video:
            video.streams.video[0].thread_type = "NONE"
            for number, frame in enumerate(video.decode(video=0)):
                if number in wanted:
                    found.append(
                        cv2.resize(frame.to_ndarray(format="rgb24"), sizes[name], interpolation=cv2.INTER_AREA)
                    )
                if len(found) == len(wanted):
                    break
        return np.stack(found)

    readers: dict[str, Reader] = {
        "array in memory": lambda name, indices: arrays[name][indices],
        "JPEG folders": jpegs,
    }
    try:
        import decord
    except ImportError:
        decord = None
    if decord is not None:

        def opened(name: str) -> Any:
            width, height = sizes[name]
            return decord.VideoReader(str(files[name]), width=width, height=height, num_threads=1)

        kept: dict[str, Any] = {}
        readers["decord, opened for each clip"] = lambda name, indices: opened(name).get_batch(indices).asnumpy()
        readers["decord, kept open"] = lambda name, indices: (
            (kept.get(name) or kept.setdefault(name, opened(name))).get_batch(indices).asnumpy()
        )
    return {**readers, "PyAV, opened for each clip": pyav}


def prepare(options: Options) -> BenchTable:
    """The whole cache against its floor: decode, shrink and encode, nothing written."""
    from harbench.frames.decoders import choose_decoder

    config, turns, given = CacheConfig(short_side=SIDE), iter(range(10**9)), list(options.videos.files.items())
    copies = max(1, _MEDIA // len(given))  # the start of a process is not to count
    files = {f"{copy:03d}/{name}": path for copy in range(copies) for name, path in given}

    def ours() -> None:
        build_cache(files, options.work / f"again{next(turns)}", config, Decoding(workers=1))

    def floor() -> None:
        for name, path in files.items():
            for _ in encode(name, path, config, {}, choose_decoder("av")):
                pass

    frames = copies * sum(options.videos.cache.info(name).frames for name, _ in given)
    rows = race({"build_cache": ours, "decode, shrink and encode alone": floor}, options.rounds, frames)
    return BenchTable("prepare", f"frames of {len(files)} videos into a JPEG cache, one process", rows)
