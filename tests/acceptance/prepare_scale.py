"""What `harbench prepare` costs: memory against the number of media, time against nothing but decoding and encoding.

    python tests/acceptance/prepare_scale.py [--media 100,13320] [--videos 120] [--rounds 3] [--workers 2] [--ffmpeg PATH]

Memory: UCF-101 under its official names, as a RAR of clips of a few pixels; the peak, over time, of the memory of all
processes together (their shares of shared pages counted once: Pss).
Time: drawn videos of 320x240 through the real command line against three loops in as many processes: decode, shrink and
encode with harbench's own functions; decode only; and, where `--ffmpeg` names one, ffmpeg writing folders of JPEGs of the
same size. Wall and CPU seconds, the least of all rounds. Exit code 1 where memory grows by more than 20 %, or prepare
takes more than 1.2 of the CPU time of its own floor.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import av
import cv2
import numpy as np
from official_archives import PACKED, media_of

from harbench.frames.decode import open_video
from harbench.frames.fill import encode
from harbench.recipe import CacheConfig

SIDE = 128
MEMORY_GROWTH, TIME_RATIO = 1.2, 1.2


# ------------------------------------------------------------------------------------------------------------- memory
def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(each for child in children for each in family(int(child)))]


def memory(pid: int) -> int:
    """Bytes that a process and its descendants hold, shared pages counted once."""
    total = 0
    for each in family(pid):
        try:
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
        except OSError:  # it has just ended
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total * 1024


def prepare(*words: str) -> tuple[dict[str, object], int]:
    """The report of a `harbench prepare`, and the peak of its memory."""
    command = [sys.executable, "-m", "harbench", "--quiet", *words, "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    peak = 0

    def watch() -> None:
        nonlocal peak
        while process.poll() is None:
            peak = max(peak, memory(process.pid))
            time.sleep(0.1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    out = process.communicate()[0]
    watcher.join()
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended in {process.returncode}")
    report: dict[str, object] = json.loads(out)
    return report, peak


def peak_memory(count: int, workers: int, work: Path) -> int:
    media, wanted = media_of("ucf101", count)
    archive = work / f"{count}/UCF101.rar"
    archive.parent.mkdir()
    archive.write_bytes(PACKED["ucf101"](media)["UCF101.rar"])
    words = ["--home", str(work / f"{count}/home"), "prepare", "ucf101", "--archive", str(archive), "--accept-hash"]
    began = time.monotonic()
    report, peak = prepare(*words, "--limit", str(wanted), "--workers", str(workers))
    if report["cached"] != count:
        sys.exit(f"expected {count} media in the cache, found {report['cached']}")
    print(f"memory: {count} media, {peak / 1e6:.0f} MB at most, {time.monotonic() - began:.0f} s", flush=True)
    return peak


# --------------------------------------------------------------------------------------------------------------- time
def draw(path: Path, seed: int, frames: int = 120) -> None:
    """A textured square over a textured ground, MPEG-4 at UCF-101's size and about its bit rate."""
    rng = np.random.default_rng(seed)
    ground = cv2.resize(rng.integers(0, 255, (30, 40, 3), np.uint8), (320, 240), interpolation=cv2.INTER_CUBIC)
    square = cv2.resize(rng.integers(0, 255, (10, 10, 3), np.uint8), (80, 80), interpolation=cv2.INTER_CUBIC)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 320, 240, "yuv420p", 400_000
        for t in range(frames):
            picture = np.roll(ground, t, axis=1)
            x = (seed * 7 + 3 * t) % 240
            picture[80:160, x : x + 80] = square
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def encode_one(path: Path) -> int:
    cv2.setNumThreads(1)
    return len(list(encode(path.name, path, CacheConfig(short_side=SIDE), {})))


def decode_one(path: Path) -> int:
    with open_video(path) as decoded:
        return sum(1 for _ in decoded.frames)


def ffmpeg_one(path: Path, ffmpeg: str, dest: Path) -> int:
    folder = dest / path.stem
    folder.mkdir(parents=True)
    words = ["-loglevel", "error", "-threads", "1", "-i", str(path), "-vf", f"scale=-2:{SIDE}:flags=area", "-q:v", "3"]
    subprocess.run([ffmpeg, *words, str(folder / "%06d.jpg")], check=True)
    return len(list(folder.iterdir()))


def seconds(run: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of this process's children."""

    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    wall, cpu = time.monotonic(), used()
    run()
    return time.monotonic() - wall, used() - cpu


def pooled(one: Callable[[Path], int], paths: list[Path], workers: int) -> int:
    """Frames of all files, read in as many fresh processes as prepare has."""
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        frames = sum(pool.imap_unordered(one, paths))
        pool.close()
        pool.join()
    return frames


def times(videos: int, rounds: int, workers: int, ffmpeg: str, work: Path) -> dict[str, tuple[float, float]]:
    """Way -> the least wall and CPU seconds; the ways take turns."""
    folder = work / "videos"
    paths = [folder / f"{'left' if n % 2 else 'right'}/person{n:04d}.avi" for n in range(videos)]
    for number, path in enumerate(paths):
        draw(path, number)
    found: dict[str, tuple[float, float]] = {}
    for turn in range(rounds):
        home, frames = ["--home", str(work / f"home{turn}")], work / f"frames{turn}"
        own = ["prepare", str(folder), "--name", "mine", "--split-by", "random", "--short-side", str(SIDE)]
        ways: dict[str, Callable[[], object]] = {
            "prepare": partial(prepare, *home, *own, "--workers", str(workers)),
            "decode, shrink, encode": partial(pooled, encode_one, paths, workers),
            "decode": partial(pooled, decode_one, paths, workers),
        }
        if ffmpeg:
            one = partial(ffmpeg_one, ffmpeg=ffmpeg, dest=frames)
            ways["ffmpeg, folders of JPEGs"] = partial(pooled, one, paths, workers)
        for name, run in ways.items():
            took = seconds(run)
            before = found.get(name, took)
            found[name] = min(before[0], took[0]), min(before[1], took[1])
            print(f"time:   {name}: {took[0]:.1f} s, CPU {took[1]:.1f} s", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", default="100,13320", help="numbers of media whose memory is compared; empty: none")
    parser.add_argument("--videos", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--ffmpeg", default="", help="an ffmpeg to compare with")
    args = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory(prefix="prepare-scale-") as folder:
        if args.rounds:
            found = times(args.videos, args.rounds, args.workers, args.ffmpeg, Path(folder))
            whole = found.pop("prepare")
            for name, (wall, cpu) in found.items():
                print(f"prepare / {name}: {whole[0] / wall:.2f} of the time, {whole[1] / cpu:.2f} of the CPU time")
            good = whole[1] <= TIME_RATIO * found["decode, shrink, encode"][1]
        counts = [int(word) for word in args.media.split(",") if word]
        peaks = [peak_memory(count, args.workers, Path(folder)) for count in counts]
        if peaks:
            print(f"memory: {peaks[-1] / peaks[0]:.2f} of that of {counts[0]} media")
            good = good and peaks[-1] <= MEMORY_GROWTH * peaks[0]
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
