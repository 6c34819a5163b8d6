"""Archives: whole or absent, resumed after a kill, and hostile ones refused with nothing left outside."""

from __future__ import annotations

import io
import os
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harbench.errors import ArchiveError
from harbench.ingest import unpack as module
from harbench.ingest.unpack import folder_name, is_archive, unpack
from harbench.records import DatasetSpec

SPEC = DatasetSpec(name="toy", title="Toy", modality="video", unit="video", splits=("official",))


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return path


def make_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def files_under(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".archive.json"
    }


MEMBERS = {"a/one.avi": b"1" * 5000, "a/t & wo [x].avi": bytes(range(256)), "empty.avi": b""}


@pytest.mark.parametrize("make, name", [(make_zip, "toy.zip"), (make_tar, "toy.tar.gz")])
def test_extracts_and_is_a_no_op_the_second_time(tmp_path: Path, make, name: str) -> None:
    archive = make(tmp_path / name, MEMBERS)
    (folder,) = unpack(SPEC, [archive], tmp_path / "out")
    assert folder == tmp_path / "out" / "toy"
    assert files_under(folder) == MEMBERS
    before = (folder / "a/one.avi").stat().st_ino
    unpack(SPEC, [archive], tmp_path / "out")
    assert (folder / "a/one.avi").stat().st_ino == before
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["toy"]


def test_a_changed_archive_is_extracted_anew(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "toy.zip", MEMBERS)
    unpack(SPEC, [archive], tmp_path / "out")
    make_zip(archive, {"b.avi": b"new"})
    os.utime(archive, ns=(1, 1))
    (folder,) = unpack(SPEC, [archive], tmp_path / "out")
    assert files_under(folder) == {"b.avi": b"new"}


def test_goes_on_after_a_kill_and_keeps_only_what_is_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_zip(tmp_path / "toy.zip", MEMBERS)
    extract, written = module._extract, []

    def killed(archive: Path, member: module.Member, folder: Path) -> None:
        if written:
            raise KeyboardInterrupt
        extract(archive, member, folder)
        written.append(folder / member.path)

    monkeypatch.setattr(module, "_extract", killed)
    with pytest.raises(KeyboardInterrupt):
        unpack(SPEC, [archive], tmp_path / "out")
    assert not (tmp_path / "out" / "toy").exists()
    monkeypatch.setattr(module, "_extract", extract)
    # What the kill left has the right size and the wrong bytes, as after a power cut.
    written[0].write_bytes(b"0" * written[0].stat().st_size)
    (folder,) = unpack(SPEC, [archive], tmp_path / "out")
    assert files_under(folder) == MEMBERS


@pytest.mark.parametrize(
    "name", ["../out.avi", "a/../../out.avi", "/tmp/harbench-out.avi", "C:/out.avi", "..\\out.avi"]
)
def test_a_zip_member_that_would_leave_is_refused(tmp_path: Path, name: str) -> None:
    archive = make_zip(tmp_path / "toy.zip", {"good.avi": b"1", name: b"2"})
    with pytest.raises(ArchiveError, match="would leave"):
        unpack(SPEC, [archive], tmp_path / "deep" / "out")
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"toy.zip"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_a_tar_member_that_is_no_file_is_refused(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "toy.tar"
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("link.avi")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(ArchiveError, match="link or a device"):
        unpack(SPEC, [path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_symlink_in_a_zip_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "toy.zip", "w") as archive:
        info = zipfile.ZipInfo("link.avi")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(ArchiveError, match="is a link"):
        unpack(SPEC, [tmp_path / "toy.zip"], tmp_path / "out")


def test_a_bomb_is_refused_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BOMB_SLACK", 1 << 20)
    archive = make_zip(tmp_path / "toy.zip", {"bomb.avi": bytes(50 << 20)})
    with pytest.raises(ArchiveError, match="more than 200 times"):
        unpack(SPEC, [archive], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_damage_is_named_and_leaves_no_folder(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "toy.zip", {"one.avi": os.urandom(4000), "two.avi": os.urandom(4000)})
    content = bytearray(archive.read_bytes())
    content[6000] ^= 0xFF
    archive.write_bytes(bytes(content))
    with pytest.raises(ArchiveError, match=r"two\.avi.*damaged"):
        unpack(SPEC, [archive], tmp_path / "out")
    assert not (tmp_path / "out" / "toy").exists()


def test_truncated_encrypted_missing_and_unknown_archives(tmp_path: Path) -> None:
    whole = make_zip(tmp_path / "toy.zip", MEMBERS).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    # The encryption bit of a member, set in its local and its central header.
    locked = bytearray(make_zip(tmp_path / "one.zip", {"a.avi": b"x"}).read_bytes())
    struct.pack_into("<H", locked, 6, 1)
    struct.pack_into("<H", locked, locked.index(b"PK\x01\x02") + 8, 1)
    (tmp_path / "locked.zip").write_bytes(bytes(locked))
    (tmp_path / "toy.rar").write_bytes(b"Rar!\x1a\x07\x00")
    (tmp_path / "toy.txt").write_text("x")
    for name, words in (
        ("cut.zip", "damaged"), ("locked.zip", "encrypted"), ("toy.rar", "--from"), ("toy.txt", "not an archive"),
        ("absent.zip", "no archive"),
    ):  # fmt: skip
        with pytest.raises(ArchiveError, match=words):
            unpack(SPEC, [tmp_path / name], tmp_path / "out")


def test_names_of_archives() -> None:
    assert folder_name(Path("x/UCF101.TAR.GZ")) == "UCF101"
    assert folder_name(Path("a.b.zip")) == "a.b"
    assert is_archive(Path("poses.npz")) and not is_archive(Path("video.avi"))


@given(st.binary(max_size=400))
def test_any_bytes_are_an_archive_error_or_an_archive(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "toy.zip").write_bytes(content)
    with pytest.raises(ArchiveError):
        unpack(SPEC, [folder / "toy.zip"], folder / "out")
    assert not (folder / "out" / "toy").exists()
