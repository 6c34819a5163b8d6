"""Does `harbench prepare` bring whole data sets home from a server and a machine that misbehave?

    python tests/acceptance/prepare_acceptance.py [--datasets ucf101,kth] [--fraction 0.01] [--workers 2]

Every data set is generated with all official names, in its official packing, as tiny clips or pictures, and prepared
twice through the real command line: once undisturbed, once from a server that resets, truncates, lies about ranges,
redirects and changes its file, with the process interrupted and killed in each stage and an archive damaged on disk.
What is in both caches must agree media by media, and the counts must be the official ones. Exit code 1 when not.
`ucf101-thumos` is UCF-101 as the flat zip of the THUMOS challenge. Minutes of CPU time.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import av
import cv2
import numpy as np
from hostile_server import HostileServer
from rar_writer import rar3, rar5

from harbench import places

COUNTS = {"ucf101": 13320, "ucf101-thumos": 13320, "hmdb51": 6766, "kth": 599, "stanford40": 9532, "weizmann": 90}
"""Media of the fact sheets; of HMDB51 6,371 are in one of its splits."""
IN_SPLITS = {**COUNTS, "hmdb51": 6371}
VARIANTS = 2003
"""Different clips of a data set: two media are the same with this probability."""
Members = list[tuple[str, bytes]]


# ------------------------------------------------------------------------------------------------------ the data sets
def table(dataset: str) -> list[dict[str, str]]:
    """The rows of samples.csv."""
    with open(places.shipped("splits") / dataset / "samples.csv", encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def media_of(dataset: str, limit: int) -> tuple[list[str], int]:
    """The official media, and how many a whole `prepare` needs; with a limit just the first ones of the splits."""
    from harbench.api.preparation import official_order
    from harbench.datasets.tables import load_spec

    in_splits = official_order(load_spec(dataset), Path("nowhere"))
    if limit < len(in_splits):
        return list(in_splits[:limit]), limit
    return list(dict.fromkeys(row["media"] for row in table(dataset))), len(in_splits)


def clip(seed: int, frames: int = 10) -> bytes:
    """A moving square in its own colours, 32x24, as MPEG-4 in AVI."""
    rng = np.random.default_rng(seed)
    ground, colour = rng.integers(0, 255, 3), rng.integers(0, 255, 3)
    out = io.BytesIO()
    with av.open(out, "w", format="avi") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        picture = np.empty((24, 32, 3), np.uint8)
        for t in range(frames):
            picture[:] = ground
            picture[6:14, (seed + t) % 24 : (seed + t) % 24 + 8] = colour
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return out.getvalue()


def clips(media: list[str]) -> Iterator[tuple[str, bytes]]:
    """Every media with one of the variants, and a tail of its own that no decoder looks at."""
    variants: dict[int, bytes] = {}
    for name in media:
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % VARIANTS
        content = variants.setdefault(seed, b"") or clip(seed)
        variants[seed] = content
        yield name, content + name.encode("utf-8", "surrogateescape")


def zipped(members: Members) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), content)
    return out.getvalue()


def ucf101(media: list[str]) -> dict[str, bytes]:
    return {"UCF101.rar": rar5([(f"UCF-101/{name}", content) for name, content in clips(media)])}


def ucf101_thumos(media: list[str]) -> dict[str, bytes]:
    """Flat, and HandstandPushups spelt as its class."""
    flat = [
        (f"UCF101/{Path(name).name.replace('HandStandPushups', 'HandstandPushups')}", content)
        for name, content in clips(media)
    ]
    return {"UCF101_videos.zip": zipped(flat)}


def hmdb51(media: list[str]) -> dict[str, bytes]:
    """A RAR of RARs, one a class."""
    classes: dict[str, Members] = defaultdict(list)
    for name, content in clips(media):
        classes[name.split("/")[0]].append((name, content))
    return {"hmdb51_org.rar": rar3([(f"{label}.rar", rar3(members)) for label, members in classes.items()])}


def kth(media: list[str]) -> dict[str, bytes]:
    """Six flat zips; every video as long as its last sequence."""
    length: dict[str, int] = defaultdict(int)
    for row in table("kth"):
        length[row["media"]] = max(length[row["media"]], int(row["end"]))
    actions: dict[str, Members] = {
        name: [] for name in ("walking", "jogging", "running", "boxing", "handwaving", "handclapping")
    }
    for name in media:
        actions[name.split("_")[1]].append((name, clip(len(actions) + hash_of(name), length[name])))
    return {f"{action}.zip": zipped(members) for action, members in actions.items()}


def hash_of(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")


def stanford40(media: list[str]) -> dict[str, bytes]:
    pictures, notes = [], []
    for name in media:
        rng = np.random.default_rng(hash_of(name))
        picture = np.full((24, 32, 3), rng.integers(0, 255, 3), np.uint8)
        pictures.append((f"JPEGImages/{name}", cv2.imencode(".jpg", picture)[1].tobytes()))
        notes.append((f"XMLAnnotations/{Path(name).stem}.xml", ANNOTATION.encode()))
    return {"Stanford40_JPEGImages.zip": zipped(pictures), "Stanford40_XMLAnnotations.zip": zipped(notes)}


ANNOTATION = (
    "<annotation><object><name>person</name><bndbox><xmax>30</xmax><xmin>2</xmin><ymax>20</ymax><ymin>3</ymin></bndbox>"
    "</object><size><depth>3</depth><height>24</height><width>32</width></size></annotation>"
)


def weizmann(media: list[str]) -> dict[str, bytes]:
    return {"weizmann.zip": zipped(list(clips(media)))}


PACKED: Mapping[str, Callable[[list[str]], dict[str, bytes]]] = {
    "ucf101": ucf101, "ucf101-thumos": ucf101_thumos, "hmdb51": hmdb51, "kth": kth, "stanford40": stanford40,
    "weizmann": weizmann,
}  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- the runs
class Runs:
    """The command line on one data set, in one home, from one server."""

    def __init__(self, dataset: str, home: Path, server: HostileServer, names: list[str], options: list[str]) -> None:
        self.home = home / dataset
        mirrors = [f"{server.url}{where}/{name}" for name in names for where in ("/gone", "/forbidden", "/moved", "")]
        urls = [word for url in mirrors for word in ("--url", f"{url.rpartition('/')[2]}={url}")]
        self.words = [
            sys.executable, "-m", "harbench", "--home", str(home), "prepare", dataset, "--accept-hash", "--json",
            *urls, *options,
        ]  # fmt: skip
        self.log = open(home / "log.txt", "ab")  # noqa: SIM115 (as long as the object)

    def start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self.words, stdout=subprocess.PIPE, stderr=self.log)

    def finish(self) -> dict[str, object]:
        process = self.start()
        out = process.communicate()[0]
        if process.returncode:
            sys.exit(f"exit code {process.returncode}; see {self.log.name}")
        found: dict[str, object] = json.loads(out)
        return found

    def stop(self, how: signal.Signals, when: Callable[[], bool], what: str) -> None:
        """Start it, and stop it as soon as `when` holds."""
        process = self.start()
        while process.poll() is None and not when():
            time.sleep(0.002)
        caught = process.poll() is None
        process.send_signal(how)
        process.communicate()
        print(f"    {how.name:8} while {what}: {'done' if caught else 'too late, it was through'}", flush=True)

    def fetching(self) -> bool:
        return any(path.stat().st_size > 1_000 for path in self.home.glob("archives/*.part"))

    def unpacking(self) -> bool:
        return any(path.is_file() for path in self.home.glob("unpacked/.*/**/*"))

    def caching(self) -> bool:
        return any(path.stat().st_size for path in self.home.glob("cache/*/frames-*.idx"))


def disturbed(runs: Runs, server: HostileServer, archives: dict[str, bytes]) -> dict[str, object]:
    """Everything that may go wrong, and then the run that must end well."""
    name, content = max(archives.items(), key=lambda item: len(item[1]))
    for each in archives:
        server.always[f"/gone/{each}"] = "status 404"
        server.always[f"/forbidden/{each}"] = "status 403"
        server.always[f"/moved/{each}"] = f"redirect /{each}"
    path, third = f"/{name}", len(content) // 3
    server.contents[path] = content[::-1]  # the publisher's older edition
    server.plan[path] = [f"slow+stall {third}", f"stall {third}"]
    runs.stop(signal.SIGINT, runs.fetching, "fetching")
    server.contents[path] = content
    server.forget(path)
    server.plan[path] = ["status 500", f"reset {third}", f"truncate {third // 2}", "wrong-range", f"stall {third}"]
    runs.stop(signal.SIGKILL, lambda: len(server.plan[path]) == 0 and runs.fetching(), "fetching, after five faults")
    server.plan[path] = [f"reset {third // 4}", "ignore-range"]
    runs.stop(signal.SIGKILL, runs.unpacking, "unpacking")
    damage(runs.home / "archives" / name)
    runs.stop(signal.SIGINT, runs.caching, "caching, after an archive was damaged on disk")
    runs.stop(signal.SIGKILL, runs.caching, "caching")
    return runs.finish()


def damage(path: Path) -> None:
    """Thirty other bytes in the middle; the date stays."""
    if not path.exists():
        print("    nothing to damage: the archive is not there")
        return
    about = path.stat()
    with open(path, "r+b") as handle:
        handle.seek(about.st_size // 2)
        handle.write(b"?" * 30)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def cache_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of the frames of every media, read as any other tool would: with tar."""
    frames: dict[str, dict[str, bytes]] = defaultdict(dict)
    for path in sorted(folder.glob("frames-*.tar")):
        with tarfile.open(path) as opened:
            for member in opened:
                media, _, number = member.name.rpartition("/")
                content = opened.extractfile(member)
                assert content is not None
                frames[media][number] = hashlib.sha256(content.read()).digest()
    return {
        media: hashlib.sha256(b"".join(found[number] for number in sorted(found))).hexdigest()
        for media, found in frames.items()
    }


def accept(name: str, fraction: float, workers: int, work: Path) -> bool:
    dataset = name.partition("-")[0]
    media, wanted = media_of(dataset, max(1, round(fraction * IN_SPLITS[name])))
    began = time.monotonic()
    archives = PACKED[name](media)
    size = sum(map(len, archives.values())) / 1e6
    print(f"{name}: {len(media)} media in {len(archives)} archives, {size:.1f} MB, made in {since(began)}", flush=True)
    options = ["--workers", str(workers)] + (["--limit", str(wanted)] if fraction < 1 else [])
    hashes, reports = [], []
    for kind in ("undisturbed", "disturbed"):
        home = work / name / kind
        home.mkdir(parents=True)
        with HostileServer({f"/{each}": content for each, content in archives.items()}) as server:
            runs = Runs(dataset, home, server, list(archives), options)
            began = time.monotonic()
            reports.append(runs.finish() if kind == "undisturbed" else disturbed(runs, server, archives))
            print(f"    {kind}: {since(began)}", flush=True)
        hashes.append(cache_hashes(Path(str(reports[-1]["cache"]))))
    problems = []
    if fraction >= 1 and (len(media), wanted) != (COUNTS[name], IN_SPLITS[name]):
        problems.append(f"expected {COUNTS[name]} media, {IN_SPLITS[name]} in splits; found {len(media)}, {wanted}")
    for report, found in zip(reports, hashes, strict=True):
        if (report["present"], report["missing"], report["failed"], len(found)) != (wanted, [], {}, wanted):
            problems.append(f"expected {wanted} media in the cache, found {len(found)}; present {report['present']}")
    different = [each for each in hashes[0] if hashes[0][each] != hashes[1].get(each)]
    if different:
        problems.append(f"{len(different)} media differ from the undisturbed run: {different[:3]}")
    print(f"    {len(hashes[1])} media, {len(set(hashes[1].values()))} different hashes: {problems or 'all equal'}")
    return not problems


def since(began: float) -> str:
    return f"{time.monotonic() - began:.1f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", default=",".join(PACKED))
    parser.add_argument("--fraction", type=float, default=1.0, help="the first media of each only")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--work", type=Path, help="kept folder; default: a temporary one")
    args = parser.parse_args()
    work = args.work or Path(tempfile.mkdtemp(prefix="prepare-acceptance-"))
    good = [accept(name, args.fraction, args.workers, work) for name in args.datasets.split(",")]
    if all(good) and args.work is None:
        shutil.rmtree(work)
    else:
        print(f"kept: {work}")
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
