"""`bench`: speed against what people use otherwise, as ratios measured in one run, never asserted by a test.

The contenders of a table do equal work, take turns, and are held against its first row. What differs in their pixels is said.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from harbench.errors import MediaError
from harbench.frames.cache import MappedCache, build_cache, open_cache
from harbench.frames.clips import ClipDataset, evaluation_batches, evaluation_keys
from harbench.frames.fill import Decoding
from harbench.frames.streams import encode
from harbench.recipe import CacheConfig, EvalConfig, InputConfig
from harbench.records import VIDEO_SUFFIXES, Sample, Track, silent

FRAMES, STRIDE, SIDE = 16, 2, 128
_MEDIA = 160
"""Media of a preparation, at least about so many."""
Reader = Callable[[str, npt.NDArray[np.int64]], npt.NDArray[Any]]
Contenders = Mapping[str, Callable[[], object]]


@dataclass(frozen=True)
class Row:
    """One way of doing the work of a table."""

    name: str
    seconds: float
    """Median over the rounds."""
    spread: float
    """Largest less smallest time, as a share of the median."""
    rate: float
    """Pieces of work a second."""
    ratio: float
    """Its median time as a multiple of that of the table's first row."""


@dataclass(frozen=True)
class BenchTable:
    """Ways of doing equal work, the first being harbench's own."""

    name: str
    what: str
    """The work, in words, and what its pieces are."""
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


def bench(
    what: str = "all", *, source: Path | None = None, clips: int = 100, rounds: int = 5, track: Track = silent
) -> list[BenchTable]:
    """Measure `decode`, `prepare`, `train`, `evaluate`, `start`, or `all` of them.

    All but `start` read the videos under `source`, and write to a temporary folder.

    Raises:
        MediaError: there is no such table, no `source` where one is needed, no video that is long enough under it, or one
            that cannot be decoded.
    """
    chosen = list(TABLES) if what == "all" else [what]
    if unknown := [each for each in chosen if each not in TABLES]:
        raise MediaError(f"bench {unknown[0]}: expected {', '.join(TABLES)} or all")
    if source is None and what != "start":
        raise MediaError(f"bench {what} reads videos; say where some are:  harbench bench {what} --from DIR")
    with tempfile.TemporaryDirectory() as work:
        videos = _videos(source, Path(work)) if source is not None else None
        options = Options(videos, clips, rounds, Path(work))
        return [TABLES[each](options) for each in track(chosen, "measuring", len(chosen))]


@dataclass(frozen=True)
class Videos:
    """Videos and their JPEG cache."""

    files: Mapping[str, Path]
    cache: MappedCache


@dataclass(frozen=True)
class Options:
    """What the tables are made of."""

    given: Videos | None
    clips: int
    rounds: int
    work: Path

    @property
    def videos(self) -> Videos:
        """Those that were given."""
        assert self.given is not None
        return self.given


def _videos(source: Path, work: Path) -> Videos:
    files = sorted(path for path in source.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    if not files:
        raise MediaError(f"there is no video under {source}; --from takes a folder of .avi, .mp4, .mkv ... files")
    media = {f"{number:05d}": path for number, path in enumerate(files)}
    report = build_cache(media, work / "cache", CacheConfig(short_side=SIDE))
    if report.failed:
        name, reason = next(iter(report.failed.items()))
        raise MediaError(f"{media[name]} cannot be decoded: {reason}")
    cache = open_cache(work / "cache")
    long_enough = {name: path for name, path in media.items() if cache.info(name).frames > FRAMES * STRIDE}
    if not long_enough:
        raise MediaError(f"no video under {source} has more than {FRAMES * STRIDE} frames")
    return Videos(long_enough, cache)


def _race(contenders: Contenders, rounds: int, pieces: int) -> tuple[Row, ...]:
    """Every contender once to warm up, then in turns, so that what else the machine does meets all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, work in contenders.items():
            started = time.perf_counter()
            work()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    medians = {name: median(each) for name, each in seconds.items()}
    first = next(iter(medians.values()))
    return tuple(
        Row(name, medians[name], (max(each) - min(each)) / medians[name], pieces / medians[name], medians[name] / first)
        for name, each in seconds.items()
    )


# -------------------------------------------------------------------------------------------------------------- decode
def _decode(options: Options) -> BenchTable:
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
        _race(contenders, options.rounds, len(asked)),
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


# ------------------------------------------------------------------------------------------------------------- prepare
def _prepare(options: Options) -> BenchTable:
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
    rows = _race({"build_cache": ours, "decode, shrink and encode alone": floor}, options.rounds, frames)
    return BenchTable("prepare", f"frames of {len(files)} videos into a JPEG cache, one process", rows)


# --------------------------------------------------------------------------------------------------------------- train
def _train(options: Options) -> BenchTable:
    """Steps with the real loader against the same steps on one batch that is in memory."""
    import torch

    from harbench.frames.loader import load_each
    from harbench.frames.streams import normalize
    from harbench.models.build import build_model
    from harbench.recipe import ModelConfig

    config = InputConfig.model_validate({"clip": {"dense": {"num_frames": FRAMES, "stride": STRIDE}}})
    data = ClipDataset(_rows(options.videos), options.videos.cache, config, seed=0, views=None)
    rows: list[Row] = []
    for name, size, steps in (("motion3d", 8, 12), ("r3d_18", 2, 3)):
        keys = [(0, at, at % len(data), 0) for at in range(size * steps)]
        batches = [keys[first : first + size] for first in range(0, len(keys), size)]
        torch.manual_seed(0)
        model = build_model(ModelConfig(name=name), 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
        arriving: Any = iter(load_each(data, cycle(batches), workers=1))  # of all rounds: a start is not to count
        kept = next(arriving)

        def step(batch: Any, model: Any = model, optimizer: Any = optimizer) -> None:
            optimizer.zero_grad()
            logits = model(normalize(batch.frames, config))
            torch.nn.functional.cross_entropy(logits, batch.targets).backward()  # type: ignore[no-untyped-call]
            optimizer.step()

        def loaded(step: Callable[[Any], None] = step, arriving: Any = arriving, steps: int = steps) -> None:
            for batch in islice(arriving, steps):
                step(batch)

        def in_memory(step: Callable[[Any], None] = step, kept: Any = kept, steps: int = steps) -> None:
            for _ in range(steps):
                step(kept)

        rows += _race(
            {f"{name}, its loader": loaded, f"{name}, a batch in memory": in_memory}, options.rounds, steps * size
        )
        arriving.close()
    return BenchTable(
        "train",
        f"samples of {FRAMES} frames at 112 pixels in batches of 8 (r3d_18: 2), forward, backward and step on the CPU, one "
        "loader process; a ratio is to the same network with its loader",
        tuple(rows),
    )


# ------------------------------------------------------------------------------------------------------------ evaluate
def _evaluate(options: Options) -> BenchTable:
    """Ten clips and three crops of every video as the evaluation reads them, against every view by itself."""
    config = InputConfig.model_validate({"clip": {"dense": {"num_frames": FRAMES, "stride": STRIDE}}})
    views = EvalConfig(clips=10, crops=3)
    decoded = {"together": 0, "alone": 0}

    class Counting:
        def __init__(self, name: str) -> None:
            self.name, self.cache = name, options.videos.cache
            self.info = self.cache.info

        def __contains__(self, media: object) -> bool:
            return media in self.cache

        def read(self, media: str, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.generic]:
            decoded[self.name] += len(np.unique(indices))
            return self.cache.read(media, indices)

    samples = _rows(options.videos)
    together, alone = (ClipDataset(samples, Counting(name), config, seed=0, views=views) for name in decoded)

    def shared() -> None:
        for batch in evaluation_batches(together):
            together.__getitems__(batch)

    def by_itself() -> None:
        for key in evaluation_keys(len(samples), 30).tolist():
            alone.view(tuple(key))

    rows = _race(
        {"views of a video together": shared, "every view by itself": by_itself}, options.rounds, 30 * len(samples)
    )
    share = decoded["alone"] / decoded["together"]
    return BenchTable(
        "evaluate",
        f"views, 10 clips x 3 crops of {len(samples)} videos, one process, without the model",
        rows,
        (f"{share:.1f} times fewer frames are decoded",),
    )


def _rows(videos: Videos) -> list[Sample]:
    return [Sample(name, number % 2, "", "train", name) for number, name in enumerate(videos.files)]


# --------------------------------------------------------------------------------------------------------------- start
def _start(options: Options) -> BenchTable:
    """`harbench --help`, and what TAB offers, against importing what draws the help."""
    typed = {"_HARBENCH_COMPLETE": "complete_bash", "COMP_WORDS": "harbench prepare ucf101 --split ", "COMP_CWORD": "4"}
    commands = {
        "harbench --help": partial(_spawn, ["-m", "harbench", "--help"]),
        "harbench prepare ucf101 --split TAB": partial(_spawn, ["-m", "harbench"], typed),
        "import typer, rich": partial(_spawn, ["-c", "import typer, rich"]),
    }
    return BenchTable("start", "processes", _race(commands, options.rounds, 1))


def _spawn(arguments: Sequence[str], more: Mapping[str, str] | None = None) -> None:
    subprocess.run([sys.executable, *arguments], env={**os.environ, **(more or {})}, capture_output=True, check=True)


TABLES: Mapping[str, Callable[[Options], BenchTable]] = {
    "decode": _decode,
    "prepare": _prepare,
    "train": _train,
    "evaluate": _evaluate,
    "start": _start,
}
"""What can be measured."""
