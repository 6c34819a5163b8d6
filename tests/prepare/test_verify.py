"""The manifest of media, and files put back one at a time from the archives they came from."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest
from rar_writer import rar5, write_rar

from harbench.errors import MediaError
from harbench.prepare.manifest import MediaRow, hashed, read_failed, read_manifest, write_failed, write_manifest
from harbench.prepare.unpack import unpack
from harbench.prepare.verify import damage_of, extract_again
from harbench.records import DatasetSpec

SPEC = DatasetSpec(name="t", title="T", modality="video", unit="video", splits=("official",))
CONTENTS = {f"c/v {number}.avi": bytes([number]) * (1000 + number) for number in range(4)}


def zipped(contents: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return out.getvalue()


def make_archive(folder: Path, kind: str) -> Path:
    path = folder / f"all.{kind}"
    if kind == "zip":
        path.write_bytes(zipped({"inner.zip": zipped(CONTENTS), "readme.txt": b"read"}))
    elif kind == "rar":
        write_rar(path, [("inner.rar", rar5(CONTENTS.items())), ("readme.txt", b"read")])
    else:
        with tarfile.open(path, "w") as archive:
            for name, content in CONTENTS.items():
                info = tarfile.TarInfo(f"inner/{name}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("kind", ["zip", "rar", "tar"])
def test_only_what_broke_is_extracted_again(tmp_path: Path, kind: str) -> None:
    """From a zip in a zip, a RAR in a RAR, and from a tar, which has no checksums: the manifest's decide."""
    archive = make_archive(tmp_path, kind)
    unpack(SPEC, [archive], tmp_path / "unpacked")
    files = {name: tmp_path / "unpacked/all/inner" / name for name in CONTENTS}
    rows = hashed(files, {})
    first, second, third, _ = files.values()
    first.unlink()
    os.truncate(second, 10)
    third.write_bytes(b"?" + third.read_bytes()[1:])
    before = {path: path.stat() for path in (tmp_path / "unpacked").rglob("*") if path.is_file()}
    broken = [row for row in rows.values() if damage_of(row)]
    assert [row.media for row in broken] == list(files)[:3]
    assert set(extract_again(SPEC, broken, tmp_path / "unpacked", [])) == set(list(files)[:3]), "no archive is here"
    assert extract_again(SPEC, broken, tmp_path / "unpacked", [archive]) == {}
    assert not any(damage_of(row) for row in rows.values())
    assert {name: path.read_bytes() for name, path in files.items()} == CONTENTS
    assert [path.stat().st_mtime_ns for path in files.values()] == [row.mtime_ns for row in rows.values()]
    kept = [path for path in before if path not in (second, third)]
    assert all(
        (path.stat().st_mtime_ns, path.stat().st_ino) == (before[path].st_mtime_ns, before[path].st_ino)
        for path in kept
    )
    assert {path for path in (tmp_path / "unpacked").rglob("*") if path.is_file()} == {*before, first}


def test_a_deleted_folder_comes_back(tmp_path: Path) -> None:
    archive = make_archive(tmp_path, "rar")
    unpack(SPEC, [archive], tmp_path / "unpacked")
    rows = hashed({name: tmp_path / "unpacked/all/inner" / name for name in CONTENTS}, {})
    shutil.rmtree(tmp_path / "unpacked")
    assert extract_again(SPEC, rows.values(), tmp_path / "unpacked", [archive]) == {}
    assert not any(damage_of(row) for row in rows.values())


def test_another_file_of_that_name_in_the_archive_is_refused(tmp_path: Path) -> None:
    archive = make_archive(tmp_path, "zip")
    unpack(SPEC, [archive], tmp_path / "unpacked")
    path = tmp_path / "unpacked/all/readme.txt"
    row = hashed({"readme.txt": path}, {})["readme.txt"]
    archive.write_bytes(zipped({"readme.txt": b"rEad"}))
    os.truncate(path, 1)
    assert "not what was recorded" in extract_again(SPEC, [row], tmp_path / "unpacked", [archive])["readme.txt"]
    assert path.read_bytes() == b"r", "what is left is left alone"
    archive.write_bytes(archive.read_bytes()[:40])
    assert "damaged" in extract_again(SPEC, [row], tmp_path / "unpacked", [archive])["readme.txt"]


def test_only_new_and_changed_files_are_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = {name: tmp_path / name for name in ("a", "b")}
    for path in files.values():
        path.write_bytes(b"one")
    first = hashed(files, {})
    hidden = files["a"].stat().st_mtime_ns
    files["a"].write_bytes(b"two")
    os.utime(files["a"], ns=(hidden, hidden))
    assert hashed(files, first) == first, "size and time are as known"
    os.utime(files["a"], ns=(1, 1))
    os.utime(files["b"], ns=(1, 1))
    again = hashed(files, first)
    assert again["a"].sha256 != first["a"].sha256 and again["b"].sha256 == first["b"].sha256
    assert "1 media are other files than before: a" in caplog.text


def test_manifest_and_failures_come_back(tmp_path: Path) -> None:
    rows = {
        name: MediaRow(name, 1, 2, "ab", f"/x/{name}", 3, 29.97, 4, 5, 0.1, True, "pose rgb-jpeg90-32")
        for name in ('a,"b\n', "é\udcff", " ", "=1+1|cmd.avi", "@x.avi", "'-x.avi")
    }
    write_manifest(tmp_path / "media.csv", rows)
    assert read_manifest(tmp_path / "media.csv") == rows
    assert b"\n'=1+1|cmd.avi," in (tmp_path / "media.csv").read_bytes()
    assert read_manifest(tmp_path / "none.csv") == {}
    text = (tmp_path / "media.csv").read_bytes()
    (tmp_path / "media.csv").write_bytes(text.replace(b"29.97", b"29_97x", 1))
    with pytest.raises(MediaError, match=r"media\.csv is damaged.*prepare again"):
        read_manifest(tmp_path / "media.csv")
    (tmp_path / "media.csv").write_bytes(text[: len(text) - 30])
    with pytest.raises(MediaError, match="is damaged"):
        read_manifest(tmp_path / "media.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(MediaError, match="is damaged"):
        read_manifest(tmp_path / "folder.csv")
    failed = {("rgb", "a,b"): "Invalid data\nfound"}
    for written in (failed, {}):
        write_failed(tmp_path, "t", written)
        assert read_failed(tmp_path, "t") == written and (tmp_path / "t/failed.csv").exists() == bool(written)
