"""Archives: whole or absent, resumed after a kill, damage named, hostile ones refused with nothing left outside."""

from __future__ import annotations

import errno
import io
import logging
import os
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rar_writer import rar3, rar5

from harbench.errors import ArchiveError
from harbench.prepare import members as members_module
from harbench.prepare import unpack as module
from harbench.prepare.archives import folder_name, is_archive
from harbench.prepare.members import MARK, Member, member_path, refuse_collisions, unfolded_limit
from harbench.prepare.unpack import unpack
from harbench.records import DatasetSpec

SPEC = DatasetSpec(name="toy", title="Toy", modality="video", unit="video", splits=("official",))


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return path


def make_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def make_rar3(path: Path, members: dict[str, bytes]) -> Path:
    path.write_bytes(rar3(members.items()))
    return path


def make_rar5(path: Path, members: dict[str, bytes]) -> Path:
    path.write_bytes(rar5(members.items()))
    return path


MAKERS = {"toy.zip": make_zip, "toy.tar.gz": make_tar, "toy.tar": make_tar, "3.rar": make_rar3, "5.rar": make_rar5}
every_kind = pytest.mark.parametrize("name", MAKERS)
MEMBERS = {"a/one.avi": b"1" * 5000, "a/t & wo [x].avi": bytes(range(256)), "-rf @b;c.avi": b"3", "empty.avi": b""}


def files_under(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MARK
    }


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Path]:
    """A folder to extract to, `x/y/out`; whatever appears elsewhere below or beside it fails the test."""
    (tmp_path / "x/y").mkdir(parents=True)

    out = tmp_path / "x/y/out"
    yield out
    outside = {path for path in tmp_path.rglob("*") if out not in (path, *path.parents)}
    assert {path for path in outside if path.parent != tmp_path} == {out.parent}
    assert all(path.name in ("x", "one.zip") or is_archive(path) for path in outside if path.parent == tmp_path)


@every_kind
def test_extracts_and_is_a_no_op_the_second_time(tmp_path: Path, name: str) -> None:
    archive = MAKERS[name](tmp_path / name, MEMBERS)
    (folder,) = unpack(SPEC, [archive], tmp_path / "out")
    assert folder == tmp_path / "out" / name.split(".")[0]
    assert files_under(folder) == MEMBERS
    before = (folder / "a/one.avi").stat().st_ino
    unpack(SPEC, [archive], tmp_path / "out")
    assert (folder / "a/one.avi").stat().st_ino == before
    assert [path.name for path in (tmp_path / "out").iterdir()] == [folder.name]


def test_a_changed_archive_is_extracted_anew(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "toy.zip", MEMBERS)
    unpack(SPEC, [archive], tmp_path / "out")
    make_zip(archive, {"b.avi": b"new"})
    os.utime(archive, ns=(1, 1))
    (folder,) = unpack(SPEC, [archive], tmp_path / "out")
    assert files_under(folder) == {"b.avi": b"new"}


def test_leftovers_of_another_archive_are_in_nobodys_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_zip(tmp_path / "toy.zip", {"a/b/c.avi": b"1", "d": b"2"})
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        spy(patched, fail_after=1)
        unpack(SPEC, [archive], tmp_path / "out")
    make_zip(archive, {"a": b"a file now"})
    (folder,) = unpack(SPEC, [archive], tmp_path / "out")
    assert files_under(folder) == {"a": b"a file now"}


def test_a_write_that_fails_is_told_and_can_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_zip(tmp_path / "toy.zip", MEMBERS)

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(ArchiveError, match=r"No space left.*repeat"):
        patched.setattr(module, "_save", full)
        unpack(SPEC, [archive], tmp_path / "out")
    (folder,) = unpack(SPEC, [archive], tmp_path / "out")
    assert files_under(folder) == MEMBERS


def spy(monkeypatch: pytest.MonkeyPatch, fail_after: int | None = None) -> list[str]:
    """Names of the members that are written; a KeyboardInterrupt after some."""
    save, written = module._save, []

    def saved(member: Member, content: Iterator[bytes], path: Path) -> None:
        if len(written) == fail_after:
            raise KeyboardInterrupt
        written.append(str(member.path))
        save(member, content, path)

    monkeypatch.setattr(module, "_save", saved)
    return written


@pytest.mark.parametrize("name", ["toy.zip", "3.rar", "5.rar"])
def test_goes_on_after_a_kill_and_keeps_only_what_is_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    archive = MAKERS[name](tmp_path / name, MEMBERS)
    stem = name.split(".")[0]
    with monkeypatch.context() as patched:
        spy(patched, fail_after=2)
        with pytest.raises(KeyboardInterrupt):
            unpack(SPEC, [archive], tmp_path / "out")
    assert not (tmp_path / "out" / stem).exists()
    # One of the two has the right size and the wrong bytes, as after a power cut.
    (tmp_path / "out" / f".{stem}.part" / "a/one.avi").write_bytes(b"0" * 5000)
    written = spy(monkeypatch)
    (folder,) = unpack(SPEC, [archive], tmp_path / "out")
    assert files_under(folder) == MEMBERS
    assert sorted(written) == ["-rf @b;c.avi", "a/one.avi", "empty.avi"]


@pytest.mark.parametrize("name", ["toy.zip", "3.rar", "5.rar"])
def test_damage_is_named_and_the_rest_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    content = {"one.avi": os.urandom(4000), "two.avi": os.urandom(4000), "three.avi": os.urandom(100)}
    archive = MAKERS[name](tmp_path / name, content)
    whole, broken = archive.read_bytes(), bytearray(archive.read_bytes())
    broken[broken.index(content["two.avi"][:50]) + 25] ^= 0xFF
    archive.write_bytes(broken)
    out, stem = tmp_path / "out", name.split(".")[0]
    with pytest.raises(ArchiveError, match=r"1 of its 3 members are damaged:\n  'two\.avi'"):
        unpack(SPEC, [archive], out)
    assert not (out / stem).exists()
    with caplog.at_level(logging.WARNING):
        (folder,) = unpack(SPEC, [archive], out, allow_damaged=True)
    assert "two.avi" in caplog.text
    assert files_under(folder) == {key: value for key, value in content.items() if key != "two.avi"}
    # A sound copy of the archive: only what was damaged is extracted again.
    archive.write_bytes(whole)
    written = spy(monkeypatch)
    unpack(SPEC, [archive], out)
    assert written == ["two.avi"] and files_under(folder) == content


@every_kind
@pytest.mark.parametrize("hostile", ["../out.avi", "a/../../out.avi", "/tmp/harbench-out.avi", "C:/out.avi", MARK])
def test_a_member_that_would_leave_is_refused(tmp_path: Path, guarded: Path, name: str, hostile: str) -> None:
    archive = MAKERS[name](tmp_path / name, {"good.avi": b"1", hostile: b"2"})
    with pytest.raises(ArchiveError, match=r"would leave|no file can be given"):
        unpack(SPEC, [archive], guarded)
    assert not guarded.exists() and not Path("/tmp/harbench-out.avi").exists()


@pytest.mark.parametrize("name", ["toy.zip", "3.rar", "5.rar"])
def test_backslashes_are_folders(tmp_path: Path, guarded: Path, name: str) -> None:
    archive = MAKERS[name](tmp_path / name, {"..\\out.avi": b"2"})
    with pytest.raises(ArchiveError, match="would leave"):
        unpack(SPEC, [archive], guarded)


@every_kind
@pytest.mark.parametrize("pair", [("a/b.avi", "A/b.AVI"), ("é.avi", "e\u0301.avi"), ("a", "a/b"), ("a/b", "A")])
def test_two_members_in_one_place_are_refused(tmp_path: Path, guarded: Path, name: str, pair: tuple[str, str]) -> None:
    archive = MAKERS[name](tmp_path / name, {pair[0]: b"1", pair[1]: b"2"})
    with pytest.raises(ArchiveError, match=r"is there twice|which is a file"):
        unpack(SPEC, [archive], guarded)
    assert not guarded.exists()


def test_the_very_same_name_twice_is_refused(tmp_path: Path, guarded: Path) -> None:
    for name, make in (("3.rar", rar3), ("5.rar", rar5)):
        (tmp_path / name).write_bytes(make([("a.avi", b"1"), ("a.avi", b"1")]))
        with pytest.raises(ArchiveError, match="twice"):
            unpack(SPEC, [tmp_path / name], guarded)
    with zipfile.ZipFile(tmp_path / "toy.zip", "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("a.avi", "1")
        archive.writestr("a.avi", "1")
    with pytest.raises(ArchiveError, match="twice"):
        unpack(SPEC, [tmp_path / "toy.zip"], guarded)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_a_tar_member_that_is_no_file_is_refused(tmp_path: Path, guarded: Path, kind: bytes) -> None:
    path = tmp_path / "toy.tar"
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("link.avi")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(ArchiveError, match="link or a device"):
        unpack(SPEC, [path], guarded)
    assert not guarded.exists()


def test_links_in_zip_and_rar_are_refused(tmp_path: Path, guarded: Path) -> None:
    with zipfile.ZipFile(tmp_path / "toy.zip", "w") as archive:
        info = zipfile.ZipInfo("link.avi")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    out_of_it = [("dir", "../..")]
    (tmp_path / "3.rar").write_bytes(rar3([("dir/a.avi", b"1")], out_of_it))
    for kind in (1, 4, 5):
        (tmp_path / f"5-{kind}.rar").write_bytes(rar5([("b/a.avi", b"1")], out_of_it, link_kind=kind))
    for name in ("toy.zip", "3.rar", "5-1.rar", "5-4.rar", "5-5.rar"):
        with pytest.raises(ArchiveError, match="is a link"):
            unpack(SPEC, [tmp_path / name], guarded)
    assert not guarded.exists()


def test_a_bomb_is_refused_before_anything_is_written(
    tmp_path: Path, guarded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members_module, "_SLACK", 1 << 20)
    bomb = {"bomb.avi": bytes(50 << 20)}
    for archive in (make_zip(tmp_path / "toy.zip", bomb), make_tar(tmp_path / "toy.tar.gz", bomb)):
        with pytest.raises(ArchiveError, match="would unfold to 52428800 bytes"):
            unpack(SPEC, [archive], guarded)
    assert not guarded.exists()


def test_the_bound_knows_the_data_set() -> None:
    ucf = DatasetSpec(**{**SPEC.__dict__, "size": "6.5 GB"})
    assert unfolded_limit(SPEC, 10**9) == 200 * 10**9 + (1 << 30)
    assert unfolded_limit(ucf, 6_500_000_000) == 20 * 6_500_000_000 + (1 << 30)
    assert unfolded_limit(ucf, 1000) == 200_000 + (1 << 30)


def test_content_never_grows_beyond_its_listing(tmp_path: Path) -> None:
    with pytest.raises(zipfile.BadZipFile, match="of 10 bytes"):
        module._save(Member(member_path(tmp_path, "a.avi"), 10), iter([b"x" * 8] * 1000), tmp_path / "a.avi")
    assert (tmp_path / "a.avi").stat().st_size <= 10


@every_kind
def test_cut_anywhere_it_is_an_error(tmp_path: Path, guarded: Path, name: str) -> None:
    whole = MAKERS[name](tmp_path / name, {"a.avi": os.urandom(300), "b/c.avi": b"2" * 60}).read_bytes()
    # The tail of a tar is padding that may be cut; what must be there is one block of zeros.
    end = whole.rindex(b"2") + 600 if name == "toy.tar" else len(whole)
    for length in range(0, end, max(1, end // 60)):
        (tmp_path / name).write_bytes(whole[:length])
        os.utime(tmp_path / name, ns=(length, length))
        with pytest.raises(ArchiveError):
            unpack(SPEC, [tmp_path / name], guarded)
        assert not (guarded / name.split(".")[0]).exists()


def test_encrypted_missing_and_unknown_archives(tmp_path: Path) -> None:
    # The encryption bit of a member, set in its local and its central header.
    locked = bytearray(make_zip(tmp_path / "one.zip", {"a.avi": b"x"}).read_bytes())
    struct.pack_into("<H", locked, 6, 1)
    struct.pack_into("<H", locked, locked.index(b"PK\x01\x02") + 8, 1)
    (tmp_path / "locked.zip").write_bytes(bytes(locked))
    (tmp_path / "toy.txt").write_text("x")
    (tmp_path / "not.rar").write_text("\n<!DOCTYPE html><html>404</html>")
    (tmp_path / "seven.zip").write_bytes(b"7z\xbc\xaf'\x1c")
    (tmp_path / "rar.zip").write_bytes(b"Rar!\x1a\x07\x01\x00")
    for name, words in (
        ("locked.zip", "is encrypted"), ("toy.txt", "not an archive"), ("absent.zip", "no archive"),
        ("not.rar", "is a web page"), ("seven.zip", r"\.7z archive.*Extract it"), ("rar.zip", "mv .*rar.zip .*rar.rar"),
    ):  # fmt: skip
        with pytest.raises(ArchiveError, match=words):
            unpack(SPEC, [tmp_path / name], tmp_path / "out")


def test_a_full_disk_is_told_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_zip(tmp_path / "toy.zip", MEMBERS)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: SimpleNamespace(free=1))
    with pytest.raises(ArchiveError, match=r"only 0\.0 GB are free"):
        unpack(SPEC, [archive], tmp_path / "deep/out")
    assert not (tmp_path / "deep/out/.toy.part").exists()


def test_names_of_archives() -> None:
    assert folder_name(Path("x/UCF101.TAR.GZ")) == "UCF101"
    assert folder_name(Path("a.b.zip")) == "a.b"
    assert folder_name(Path("hmdb51.part01.rar")) == "hmdb51"
    assert folder_name(Path("hmdb51.rar")) == "hmdb51"
    assert is_archive(Path("poses.npz")) and not is_archive(Path("video.avi"))
    assert is_archive(Path("a.part1.rar")) and not is_archive(Path("a.part02.rar")) and not is_archive(Path("a.r00"))


@given(st.binary(max_size=400), st.sampled_from(["", "PK\x03\x04", "Rar!\x1a\x07\x00", "Rar!\x1a\x07\x01\x00"]))
def test_any_bytes_are_an_archive_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, signature: str
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    for name in ("toy.zip", "toy.tar", "toy.rar"):
        (folder / name).write_bytes(signature.encode("latin-1") + content)
        with pytest.raises(ArchiveError):
            unpack(SPEC, [folder / name], folder / "out")
    assert not (folder / "out" / "toy").exists()


RARS: dict[int, Callable[..., bytes]] = {3: rar3, 5: rar5}


@given(st.sampled_from([3, 5]), st.integers(0, 10**6), st.integers(1, 255))
def test_a_flipped_byte_is_an_error_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, version: int, at: int, flip: int
) -> None:
    content = {"a/b.avi": b"1" * 40, "c.avi": b"2" * 30}
    folder = tmp_path_factory.mktemp("flip")
    broken = bytearray(RARS[version](content.items()))
    broken[at % len(broken)] ^= flip
    (folder / "toy.rar").write_bytes(broken)
    try:
        (out,) = unpack(SPEC, [folder / "toy.rar"], folder / "out")
    except ArchiveError:
        return
    assert files_under(out) == content


parts = st.one_of(
    st.sampled_from(["..", ".", "", "a", "C:", "-x", "@y", "\0", "é" * 200, "\ud800", "\udcff"]),
    st.text(st.characters(), max_size=8),
)


@given(st.lists(parts, max_size=6).map("/".join))
def test_a_name_is_refused_or_stays_inside(name: str) -> None:
    try:
        path = member_path(Path("toy.zip"), name)
    except ArchiveError:
        return
    inside = os.path.normpath(os.path.join("/base/folder", path))
    assert inside.startswith("/base/folder/") and "\0" not in inside
    refuse_collisions(Path("toy.zip"), [Member(path, 0)])
