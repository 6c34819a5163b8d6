"""The layouts in which people have UCF-101, HMDB51 and KTH: all end with the official names, in full."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from harbench.datasets.tables import load_spec, load_split
from harbench.prepare.ingest import IngestConfig, ingest
from harbench.prepare.match import match_media
from harbench.prepare.unpack import unpack
from harbench.records import DatasetSpec, MediaMatch, SplitTable


def put(root: Path, names: Iterable[str]) -> Path:
    """Empty files, as fast as they can be made."""
    by_folder: dict[str, list[str]] = {}
    for name in names:
        by_folder.setdefault(name.rpartition("/")[0], []).append(name)
    for folder, members in by_folder.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name in members:
            open(root / name, "wb").close()
    return root


def assert_complete(found: MediaMatch, table: SplitTable, place: Callable[[str], str], root: Path) -> None:
    """Every official media was found, at the place where this layout has it, and nothing was left over."""
    assert list(found.present) == list(table.media())
    assert not found.missing and not found.extra and not found.duplicated
    assert all(path == root / place(media) for media, path in found.present.items())


def unpinned(name: str) -> DatasetSpec:
    """A data set whose archives may have any content, as the ones made here do."""
    spec = load_spec(name)
    return replace(spec, archives=tuple(replace(each, checksum="", bytes=None) for each in spec.archives))


def thumos(media: str) -> str:
    """Flat, and spelt as the class is."""
    return "UCF101/" + media.split("/")[1].replace("HandStandPushups", "HandstandPushups")


def kaggle(media: str) -> str:
    """Clips dealt out to three folders, whatever the official split says."""
    pool = ("train", "train", "train", "val", "test")[sum(media.encode()) % 5]
    return f"UCF101/{pool}/{media}"


def renamed(media: str) -> str:
    """Folder and file both in the file's spelling, as some copies have it."""
    return "x/" + media.replace("HandstandPushups/", "HandStandPushups/")


@pytest.mark.parametrize("layout", [thumos, kaggle, renamed])
def test_ucf101_in_the_layouts_that_people_have(tmp_path: Path, layout: Callable[[str], str]) -> None:
    table = load_split("ucf101", "split1")
    root = put(tmp_path, map(layout, table.media()))
    for name in ("train.csv", "val.csv", "test.csv"):  # somebody's random split: no protocol, and not looked at
        (root / name).write_text("clip_name,clip_path,label\nv_Swing_g05_c02,/train/Swing/v_Swing_g05_c02.avi,Swing\n")
    assert len(table.media()) == 13320
    assert_complete(match_media([table], [root]), table, layout, root)


def test_ucf101_from_the_thumos_zip(tmp_path: Path) -> None:
    spec, table = unpinned("ucf101"), load_split("ucf101", "split1")
    with zipfile.ZipFile(tmp_path / "UCF101_videos.zip", "w") as archive:
        for media in table.media()[::20]:
            archive.writestr(thumos(media), media)
    found = ingest(spec, [table], tmp_path / "home", IngestConfig(archives=[tmp_path / "UCF101_videos.zip"]))
    assert set(found.present) == set(table.media()[::20]) and not found.extra
    assert all(path.read_text() == media for media, path in found.present.items())


def test_hmdb51_from_a_users_zip(tmp_path: Path) -> None:
    spec, table = load_spec("hmdb51"), load_split("hmdb51", "split1")
    with zipfile.ZipFile(tmp_path / "my hmdb.zip", "w") as archive:
        for media in table.media():
            archive.writestr(f"hmdb51_org/{media}", b"")
    (root,) = unpack(spec, [tmp_path / "my hmdb.zip"], tmp_path / "out")
    assert_complete(match_media([table], [root]), table, lambda media: f"hmdb51_org/{media}", root)


def test_kth_from_six_flat_zips(tmp_path: Path, test_data: Path) -> None:
    spec, table = unpinned("kth"), load_split("kth", "official")
    source = tmp_path / "mine"
    source.mkdir()
    shutil.copy(test_data / "kth/00sequences.txt", source)
    for action in ("walking", "jogging", "running", "boxing", "handwaving", "handclapping"):
        with zipfile.ZipFile(source / f"{action}.zip", "w") as archive:
            for media in table.media():
                if f"_{action}_" in media:
                    archive.writestr(media, media)
    found = ingest(spec, [table], tmp_path / "home", IngestConfig(source))
    assert len(found.present) == 599 and not found.missing and not found.extra
    assert all(path.read_text() == media for media, path in found.present.items())
    assert "person13_handclapping_d3_uncomp.avi" not in found.present
