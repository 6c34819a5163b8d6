"""Downloads against a server that resets, truncates, stalls, lies about ranges and changes its files."""

from __future__ import annotations

import hashlib
import json
import logging
import random
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hostile_server import HostileServer
from hypothesis import given
from hypothesis import strategies as st

from harbench.datasets.tables import load_spec
from harbench.errors import ArchiveError, DownloadError
from harbench.prepare import transfer as transfers
from harbench.prepare.download import archive_groups, can_fetch, drop_damaged, fetch_archives, verify_archives
from harbench.prepare.transfer import FetchConfig
from harbench.records import Archive, DatasetSpec

DATA = random.Random(0).randbytes(300_000)
SHA1 = "sha1:" + hashlib.sha1(DATA).hexdigest()
QUICK = FetchConfig(timeout=0.4, retries=3, pause=0.01)


def spec_of(*archives: Archive) -> DatasetSpec:
    return DatasetSpec(name="toy", title="Toy", modality="video", unit="video", splits=("official",), archives=archives)


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with HostileServer({"/toy.zip": DATA}) as running:
        yield running


def one(server: HostileServer, *, checksum: str = SHA1, path: str = "/toy.zip") -> DatasetSpec:
    return spec_of(Archive("toy.zip", (server.url + path,), checksum))


def ranges(server: HostileServer) -> list[str | None]:
    return [asked for _, asked in server.seen]


def test_a_finished_archive_is_a_no_op(server: HostileServer, tmp_path: Path) -> None:
    first = fetch_archives(one(server), tmp_path, QUICK)
    assert first == [tmp_path / "toy.zip"] and first[0].read_bytes() == DATA
    assert sorted(path.name for path in tmp_path.iterdir()) == [".toy.zip.json", ".toy.zip.lock", "toy.zip"]
    assert fetch_archives(one(server), tmp_path, QUICK) == first and len(server.seen) == 1


@pytest.mark.parametrize("fault", ["reset 100000", "truncate 100000", "stall 100000"])
def test_a_broken_transfer_goes_on_where_it_broke(server: HostileServer, tmp_path: Path, fault: str) -> None:
    server.plan["/toy.zip"] = [fault, fault, "status 503"]
    assert fetch_archives(one(server), tmp_path, QUICK)[0].read_bytes() == DATA
    assert ranges(server) == [None, "bytes=100000-", "bytes=200000-", "bytes=200000-"]


@pytest.mark.parametrize("fault", ["ignore-range", "wrong-range", "gzip", "chunked", "changed"])
def test_what_cannot_be_appended_begins_again(server: HostileServer, tmp_path: Path, fault: str) -> None:
    server.plan["/toy.zip"] = ["truncate 100000", fault]
    found = fetch_archives(one(server, checksum=""), tmp_path, QUICK)[0].read_bytes()
    assert found == (DATA[::-1] if fault == "changed" else DATA)
    assert ranges(server)[:2] == [None, "bytes=100000-"]


def test_a_change_is_seen_though_the_server_ignores_if_range(server: HostileServer, tmp_path: Path) -> None:
    server.plan["/toy.zip"] = ["truncate 100000", "status 500", "deaf"]
    fetched: list[int] = []

    def track(items, what, total=None, unit="items"):  # type: ignore[no-untyped-def]
        for item in items:
            fetched.append(item)
            if item == 100000 and len(server.seen) == 1:
                server.change("/toy.zip")
            yield item

    assert fetch_archives(one(server, checksum=""), tmp_path, QUICK, track=track)[0].read_bytes() == DATA[::-1]
    assert ranges(server) == [None, "bytes=100000-", "bytes=100000-", None]
    assert 0 in fetched


def test_without_a_version_the_total_decides(server: HostileServer, tmp_path: Path) -> None:
    server.always["/toy.zip"] = "anonymous"
    server.plan["/toy.zip"] = ["anonymous+truncate 100000", "anonymous+truncate 1000"]
    assert fetch_archives(one(server), tmp_path, QUICK)[0].read_bytes() == DATA
    assert ranges(server) == [None, "bytes=100000-", "bytes=101000-"]


def test_compressed_and_chunked_answers(server: HostileServer, tmp_path: Path) -> None:
    for fault in ("gzip", "chunked"):
        server.plan["/toy.zip"] = [fault]
        assert fetch_archives(one(server), tmp_path / fault, QUICK)[0].read_bytes() == DATA


def test_whole_part_that_was_never_renamed(server: HostileServer, tmp_path: Path) -> None:
    fetch_archives(one(server), tmp_path, QUICK)
    (tmp_path / "toy.zip").rename(tmp_path / "toy.zip.part")
    known = {"source": f"{server.url}/toy.zip", "total": len(DATA), "validator": '"x"'}
    (tmp_path / "toy.zip.part.json").write_text(json.dumps(known))
    assert fetch_archives(one(server), tmp_path, QUICK)[0].read_bytes() == DATA and len(server.seen) == 1
    known["total"] = None  # the server never said how long it is: 416 says that nothing is left
    (tmp_path / "toy.zip").rename(tmp_path / "toy.zip.part")
    (tmp_path / "toy.zip.part.json").write_text(json.dumps({**known, "validator": ""}))
    assert fetch_archives(one(server), tmp_path, QUICK)[0].read_bytes() == DATA
    assert ranges(server)[1:] == [f"bytes={len(DATA)}-"]


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_refused_means_the_next_mirror_at_once(server: HostileServer, tmp_path: Path, status: int) -> None:
    server.always["/gone"] = f"status {status}"
    spec = spec_of(Archive("toy.zip", (f"{server.url}/gone", f"{server.url}/toy.zip"), SHA1))
    assert fetch_archives(spec, tmp_path, QUICK)[0].read_bytes() == DATA
    assert [path for path, _ in server.seen] == ["/gone", "/toy.zip"]


def test_redirects_are_followed_but_not_in_a_circle(server: HostileServer, tmp_path: Path) -> None:
    server.always["/old"] = "redirect /toy.zip"
    server.always["/round"] = "redirect /round"
    spec = spec_of(Archive("toy.zip", (f"{server.url}/round", f"{server.url}/old"), SHA1))
    assert fetch_archives(spec, tmp_path, QUICK)[0].read_bytes() == DATA
    assert [path for path, _ in server.seen[-2:]] == ["/old", "/toy.zip"] and len(server.seen) < 20


def test_a_login_page_is_no_archive(server: HostileServer, tmp_path: Path) -> None:
    server.always["/toy.zip"] = "page"
    with pytest.raises(DownloadError, match="web page"):
        fetch_archives(one(server), tmp_path, QUICK)


def test_another_size_is_refused_before_the_first_byte(server: HostileServer, tmp_path: Path) -> None:
    archive = replace(one(server).archives[0], bytes=len(DATA) + 1)
    with pytest.raises(DownloadError, match="offers 300000 bytes where the archive has 300001"):
        fetch_archives(spec_of(archive), tmp_path, QUICK)
    assert not (tmp_path / "toy.zip.part").exists()


def test_giving_up_keeps_what_came_and_says_how_to_go_on(server: HostileServer, tmp_path: Path) -> None:
    server.plan["/toy.zip"] = ["truncate 1000", *["status 500"] * 10]
    with pytest.raises(DownloadError) as told:
        fetch_archives(one(server), tmp_path, QUICK)
    for words in ("HTTP 500", "given up after 4", "--archive FILE", "--from DIR", "--url toy.zip=URL", "goes on"):
        assert words in str(told.value)
    assert (tmp_path / "toy.zip.part").stat().st_size == 1000
    server.plan.clear()
    assert fetch_archives(one(server), tmp_path, QUICK)[0].read_bytes() == DATA
    assert ranges(server)[-1] == "bytes=1000-"


def test_a_server_that_always_begins_again_is_given_up(server: HostileServer, tmp_path: Path) -> None:
    server.always["/toy.zip"] = "changed+truncate 50000"
    with pytest.raises(DownloadError, match="given up"):
        fetch_archives(one(server), tmp_path, QUICK)
    assert len(server.seen) < 12


def test_nobody_there_is_tried_twice(tmp_path: Path) -> None:
    with HostileServer({}) as gone:
        url = gone.url
    with pytest.raises(DownloadError, match="given up after 2 attempts"):
        fetch_archives(spec_of(Archive("toy.zip", (f"{url}/toy.zip",))), tmp_path, QUICK)


def test_a_wrong_hash_keeps_the_file_and_offers_to_accept_it(server: HostileServer, tmp_path: Path) -> None:
    spec = one(server, checksum="md5:" + "0" * 32)
    with pytest.raises(ArchiveError) as told:
        fetch_archives(spec, tmp_path, QUICK)
    for words in ("expected md5 000", hashlib.md5(DATA).hexdigest(), "--accept-hash", "toy.zip.mismatch"):
        assert words in str(told.value)
    assert (tmp_path / "toy.zip.mismatch").read_bytes() == DATA and not (tmp_path / "toy.zip").exists()
    asked = len(server.seen)
    accepting = replace(QUICK, accept_hash=True)
    assert fetch_archives(spec, tmp_path, accepting)[0].read_bytes() == DATA
    assert len(server.seen) == asked, "the kept file is taken, not fetched again"
    assert fetch_archives(spec, tmp_path, QUICK)[0].read_bytes() == DATA, "accepted once is accepted"


def test_a_damaged_archive_is_fetched_again(server: HostileServer, tmp_path: Path) -> None:
    path = fetch_archives(one(server), tmp_path, QUICK)[0]
    path.touch()
    fetch_archives(one(server), tmp_path, QUICK)
    assert len(server.seen) == 1, "a new date alone is no damage"
    path.write_bytes(DATA[:-1] + b"?")
    assert fetch_archives(one(server), tmp_path, QUICK)[0].read_bytes() == DATA and len(server.seen) == 2
    path.write_bytes(DATA[1:])
    assert drop_damaged(tmp_path) == ["toy.zip"] and not path.exists() and drop_damaged(tmp_path) == []


def test_archives_that_stand_in_for_each_other(server: HostileServer, tmp_path: Path) -> None:
    spec = spec_of(
        Archive("toy.rar", (f"{server.url}/toy.rar",), "sha256:" + "0" * 64),
        Archive("more.zip", (f"{server.url}/toy.zip",)),
        Archive("toy.zip", (f"{server.url}/toy.zip",), SHA1, instead_of="toy.rar"),
    )
    assert [path.name for path in fetch_archives(spec, tmp_path, QUICK)] == ["toy.zip", "more.zip"]
    assert [path.name for path in fetch_archives(spec, tmp_path, QUICK)] == ["toy.zip", "more.zip"]
    assert [path for path, _ in server.seen] == ["/toy.rar", "/toy.zip", "/toy.zip"]


def test_one_dead_archive_does_not_keep_the_others(server: HostileServer, tmp_path: Path) -> None:
    spec = spec_of(Archive("dead.zip", (f"{server.url}/dead.zip",)), Archive("toy.zip", (f"{server.url}/toy.zip",)))
    with pytest.raises(DownloadError, match=r"could not fetch dead\.zip:"):
        fetch_archives(spec, tmp_path, QUICK)
    assert (tmp_path / "toy.zip").read_bytes() == DATA


def test_mirrors_of_the_user(server: HostileServer) -> None:
    spec = spec_of(
        Archive("a.rar", ("http://x/a.rar",), "md5:1"), Archive("a.zip", ("http://x/a.zip",), instead_of="a.rar")
    )
    assert archive_groups(spec, ["http://me/A.ZIP"])[0][0] == replace(spec.archives[1], urls=("http://me/A.ZIP",))
    assert archive_groups(spec, ["a.rar=http://me/?id=3"])[0][0] == replace(spec.archives[0], urls=("http://me/?id=3",))
    assert archive_groups(spec, ["http://me/get?id=3"])[0][0] == replace(spec.archives[0], urls=("http://me/get?id=3",))
    assert archive_groups(spec, ["http://me/other%20copy.tar.gz"])[0][0] == Archive(
        "other copy.tar.gz", ("http://me/other%20copy.tar.gz",)
    )
    several = archive_groups(spec, ["a.zip=http://me/1", "a.zip=http://me/2"])
    assert several[0][0].urls == ("http://me/1", "http://me/2") and len(several[0]) == 2
    two = spec_of(Archive("a.zip"), Archive("b.zip"))
    assert can_fetch(spec) and not can_fetch(two) and not can_fetch(two, ["http://me/a.zip"])
    assert can_fetch(two, ["http://me/a.zip", "b.zip=http://me/x"])
    with pytest.raises(DownloadError, match=r"a\.zip, b\.zip; say --url NAME=URL"):
        archive_groups(two, ["http://me/c.zip"])


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_any_mirror_is_either_understood_or_refused(text: str) -> None:
    spec = spec_of(Archive("a.zip"), Archive("b.zip"))
    try:
        assert sum(len(group) for group in archive_groups(spec, [text])) == 2
    except DownloadError as error:
        assert "--url" in str(error)


def test_registration_is_never_fetched(server: HostileServer, tmp_path: Path) -> None:
    spec = replace(one(server), registration="Ask at the front door.")
    assert not can_fetch(spec)
    with pytest.raises(DownloadError, match="front door"):
        fetch_archives(spec, tmp_path, QUICK)
    assert server.seen == []


def test_the_disk_is_looked_at_before_the_first_byte(
    server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers.shutil, "disk_usage", lambda _: SimpleNamespace(free=299_999))
    with pytest.raises(ArchiveError, match="are free"):
        fetch_archives(one(server), tmp_path, QUICK)
    assert not (tmp_path / "toy.zip.part").exists()
    monkeypatch.undo()
    server.plan["/toy.zip"] = ["truncate 200000", *["status 404"]]
    with pytest.raises(DownloadError):
        fetch_archives(one(server), tmp_path, QUICK)
    monkeypatch.setattr(transfers.shutil, "disk_usage", lambda _: SimpleNamespace(free=100_000))
    assert fetch_archives(one(server), tmp_path, QUICK)[0].read_bytes() == DATA, "only the rest needs room"


def test_insecure_needs_a_known_checksum(server: HostileServer, tmp_path: Path) -> None:
    careless = replace(QUICK, insecure=True)
    counted = replace(one(server, checksum=""), counts={"official": (4, 0, 2)})  # counts verify no byte
    for spec, config in ((counted, careless), (one(server), replace(careless, accept_hash=True))):
        with pytest.raises(DownloadError, match="--insecure is refused"):
            fetch_archives(spec, tmp_path, config)
    assert server.seen == []
    assert fetch_archives(one(server), tmp_path, careless)[0].read_bytes() == DATA


@pytest.mark.parametrize("name", ["ucf101", "hmdb51", "kth", "stanford40", "weizmann93"])
def test_insecure_fetches_no_shipped_archive_without_a_checksum(
    name: str, server: HostileServer, tmp_path: Path
) -> None:
    spec = load_spec(name)
    archives = tuple(replace(each, urls=(f"{server.url}/{each.name}",)) for each in spec.archives)
    with pytest.raises(DownloadError) as error:
        fetch_archives(replace(spec, archives=archives), tmp_path, replace(QUICK, insecure=True))
    unknown = {each.name for each in archives if not each.checksum}
    assert str(error.value).count("--insecure is refused") == len(unknown)
    assert not {path.lstrip("/") for path, _ in server.seen} & unknown


def test_a_bad_certificate_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chain of errors that httpx gives for one; a certificate to serve would need a tool that is not there."""
    import httpx

    def refuse(self: httpx.Client, *_: object, **__: object) -> object:
        bad = ssl.SSLCertVerificationError(1, "certificate verify failed")
        bad.verify_message = "unable to get local issuer certificate"
        raise httpx.ConnectError("[SSL] certificate verify failed") from bad

    monkeypatch.setattr(httpx.Client, "stream", refuse)
    with pytest.raises(DownloadError, match=r"unable to get local issuer certificate.*--insecure"):
        fetch_archives(spec_of(Archive("toy.zip", ("https://x.invalid/toy.zip",), SHA1)), tmp_path, QUICK)


def test_the_limit_is_kept_and_progress_is_in_bytes(server: HostileServer, tmp_path: Path) -> None:
    seen: list[tuple[str, int | None, str]] = []
    positions: list[int] = []

    def track(items, what, total=None, unit="items"):  # type: ignore[no-untyped-def]
        seen.append((what, total, unit))
        for item in items:
            positions.append(item)
            yield item

    began = time.monotonic()
    fetch_archives(one(server), tmp_path, replace(QUICK, limit_rate=1_000_000), track=track)
    assert time.monotonic() - began >= 0.29
    assert seen == [("fetching toy.zip", len(DATA), "bytes"), ("checking toy.zip", len(DATA), "bytes")]
    assert positions[-1] == len(DATA) and positions[0] == 0


def test_two_processes_fetch_an_archive_once(server: HostileServer, tmp_path: Path) -> None:
    server.always["/toy.zip"] = "slow 2000000"
    found: list[bytes] = []
    both = [
        threading.Thread(target=lambda: found.append(fetch_archives(one(server), tmp_path, QUICK)[0].read_bytes()))
        for _ in range(2)
    ]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert found == [DATA, DATA] and len(server.seen) == 1


FETCH = """
import sys
from pathlib import Path
from harbench.prepare.download import fetch_archives
from harbench.records import Archive, DatasetSpec
archive = Archive("toy.zip", (sys.argv[1],), sys.argv[2])
spec = DatasetSpec(name="toy", title="Toy", modality="video", unit="video", splits=("a",), archives=(archive,))
fetch_archives(spec, Path(sys.argv[3]))
"""


def test_killed_and_resumed_gives_the_same_bytes(server: HostileServer, tmp_path: Path) -> None:
    server.always["/toy.zip"] = "slow 300000"
    part = tmp_path / "toy.zip.part"
    words = [sys.executable, "-c", FETCH, f"{server.url}/toy.zip", SHA1, str(tmp_path)]
    process = subprocess.Popen(words)
    deadline = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size > 50_000) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "toy.zip").exists()
    there = part.stat().st_size
    assert 50_000 < there < len(DATA)
    server.always.clear()
    assert subprocess.run(words, check=False).returncode == 0
    assert (tmp_path / "toy.zip").read_bytes() == DATA
    assert ranges(server) == [None, f"bytes={there}-"]


def test_archives_of_the_user_are_held_against_the_known_checksum(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine = tmp_path / "Toy.ZIP"
    mine.write_bytes(DATA)
    records = tmp_path / "records"
    verify_archives(spec_of(Archive("toy.zip", (), SHA1)), [mine], records)
    assert len(list(records.iterdir())) == 1
    mine.write_bytes(DATA[::-1])
    with pytest.raises(ArchiveError, match=r"(?s)expected sha1.*--accept-hash"):
        verify_archives(spec_of(Archive("toy.zip", (), SHA1)), [mine], records)
    assert mine.read_bytes() == DATA[::-1], "the user's own file is left alone"
    verify_archives(spec_of(Archive("toy.zip", (), SHA1)), [mine], records, accept_hash=True)
    verify_archives(spec_of(Archive("toy.zip", (), SHA1)), [mine], records)
    shutil.rmtree(records)
    with caplog.at_level(logging.INFO):
        verify_archives(spec_of(Archive("toy.zip")), [mine, tmp_path / "other.zip"], records)
    assert "no checksum of Toy.ZIP is known" in caplog.text
