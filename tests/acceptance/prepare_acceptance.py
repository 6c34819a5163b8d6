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
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from hostile_server import HostileServer
from official_archives import COUNTS, IN_SPLITS, PACKED, media_of


# ----------------------------------------------------------------------------------------------------------- the runs
class Runs:
    """The command line on one data set, in one home, from one server."""

    def __init__(
        self, dataset: str, home: Path, server: HostileServer, names: list[str], wanted: int, options: list[str]
    ) -> None:
        self.home, self.wanted = home / dataset, wanted
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

    def stop(self, how: signal.Signals, when: Callable[[], bool], what: str, redo: tuple[str, ...] = ()) -> None:
        """Start it, and stop it while `when` holds; what it got through too fast is deleted (`redo`) and done again.

        The process is halted before `when` is asked for the last time: what holds then holds when the signal comes.
        """
        for _ in range(10):
            process = self.start()
            while process.poll() is None:
                if when():
                    process.send_signal(signal.SIGSTOP)
                    if when() and process.poll() is None:
                        process.send_signal(how)
                        process.send_signal(signal.SIGCONT)
                        process.communicate()
                        if process.returncode not in (-how, 130):
                            sys.exit(f"{how.name} while {what} ended in {process.returncode}; see {self.log.name}")
                        print(f"    {how.name:8} while {what}", flush=True)
                        return
                    process.send_signal(signal.SIGCONT)
                time.sleep(0.001)
            process.communicate()
            for name in redo:
                shutil.rmtree(self.home / name, ignore_errors=True)
        sys.exit(f"was never caught {what}; see {self.log.name}")

    def fetching(self) -> bool:
        return any(path.stat().st_size > 1_000 for path in self.home.glob("archives/*.part"))

    def unpacking(self) -> bool:
        """Something lies in the folder that is not whole yet."""
        return any(names for each in self.home.glob("unpacked/.*.part") for _, _, names in os.walk(each))

    def caching(self) -> bool:
        """Some media are in the index, and not all."""
        indexes = list(self.home.glob("cache/*/frames-*.idx"))
        return 0 < sum(path.read_bytes().count(b"\n") for path in indexes) < self.wanted


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
    server.plan[path] = ["status 500", f"reset {third}", f"truncate {third // 2}", "wrong-range", f"slow+stall {third}"]
    runs.stop(signal.SIGKILL, lambda: not server.plan[path] and runs.fetching(), "fetching, after five faults")
    server.plan[path] = [f"reset {third // 4}", "ignore-range"]
    runs.stop(signal.SIGKILL, runs.unpacking, "unpacking", redo=("unpacked", "media", "cache"))
    damage(runs.home / "archives" / name)
    runs.stop(signal.SIGINT, runs.caching, "caching, after an archive was damaged on disk", redo=("cache",))
    runs.stop(signal.SIGKILL, runs.caching, "caching", redo=("cache",))
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
            runs = Runs(dataset, home, server, list(archives), wanted, options)
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
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what is in its background deaf to Ctrl-C
    work = args.work or Path(tempfile.mkdtemp(prefix="prepare-acceptance-"))
    good = [accept(name, args.fraction, args.workers, work) for name in args.datasets.split(",")]
    if all(good) and args.work is None:
        shutil.rmtree(work)
    else:
        print(f"kept: {work}")
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
