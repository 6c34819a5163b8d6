"""The user's files under official names, whatever the layout."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from harbench.datasets.tables import load_split
from harbench.prepare.match import link_media, linked_media, match_media
from harbench.records import ClassLabel, Sample, SplitTable


def table(*media: str) -> SplitTable:
    samples = tuple(Sample(name.rsplit(".", 1)[0], 0, "", "train", name) for name in media)
    return SplitTable("toy", "official", "video", (ClassLabel("x", "x"),), samples)


def put(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root


def test_any_layout_of_one_data_set(tmp_path: Path) -> None:
    official = table("walk/p01_walk.avi", "run/p01_run.avi")
    layouts = {
        "exact": ("walk/p01_walk.avi", "run/p01_run.avi"),
        "deeper": ("some/where/walk/p01_walk.avi", "some/where/run/p01_run.avi"),
        "flat": ("p01_walk.avi", "p01_run.avi"),
        "case": ("WALK/P01_Walk.AVI", "Run/p01_RUN.avi"),
        "pools": ("train/walk/p01_walk.avi", "test/run/p01_run.avi"),
    }
    for layout, names in layouts.items():
        found = match_media([official], [put(tmp_path / layout, *names, "readme.txt")])
        assert {media: path.relative_to(tmp_path / layout).as_posix() for media, path in found.present.items()} == dict(
            zip(("walk/p01_walk.avi", "run/p01_run.avi"), names, strict=True)
        ), layout
        assert (found.missing, found.extra, dict(found.duplicated)) == ((), (), {})


def test_one_name_in_two_folders_is_told_apart_or_refused(tmp_path: Path) -> None:
    official = table("left/ann_1.avi", "right/ann_1.avi")
    found = match_media([official], [put(tmp_path / "a", "x/left/ann_1.avi", "x/right/ann_1.avi")])
    assert found.present["left/ann_1.avi"].parts[-2] == "left"
    assert found.present["right/ann_1.avi"].parts[-2] == "right"
    flat = match_media([official], [put(tmp_path / "b", "ann_1.avi")])
    assert flat.present == {}
    assert flat.extra == ("ann_1.avi",)


def test_duplicates_and_extras_are_listed(tmp_path: Path) -> None:
    root = put(tmp_path, "walk/a.avi", "copy/walk/a.avi", "a.avi", "other/z.avi", ".hidden/b.avi")
    found = match_media([table("walk/a.avi", "walk/b.avi")], [root])
    assert found.present["walk/a.avi"] == root / "walk/a.avi"
    assert found.duplicated == {"walk/a.avi": ("walk/a.avi", "copy/walk/a.avi", "a.avi")}
    assert found.extra == ("other/z.avi",)
    assert found.missing == ("walk/b.avi",)


def test_handstand_pushups_in_either_spelling(tmp_path: Path) -> None:
    ucf = load_split("ucf101", "split1")
    media = [name for name in ucf.media() if "HandStandPushups" in name]
    assert len(media) == 128
    renamed = (name.replace("HandStand", "Handstand").split("/")[1] for name in media)
    found = match_media([ucf], [put(tmp_path / "UCF101", *renamed)])
    assert set(found.present) == set(media)
    assert len(found.missing) == 13320 - 128


def test_the_user_files_are_linked_not_copied(tmp_path: Path) -> None:
    source, home = put(tmp_path / "mine", "a.avi", "b.avi"), tmp_path / "media"
    official = table("walk/a.avi", "walk/b.avi")
    link_media(match_media([official], [source]).present, home)
    assert os.readlink(home / "walk/a.avi") == str(source / "a.avi")
    (source / "b.avi").unlink()
    again = linked_media([official], home)
    assert again.missing == ("walk/b.avi",)
    moved = put(tmp_path / "moved", "b.avi")
    link_media(match_media([official], [moved]).present, home)
    assert (home / "walk/b.avi").read_text() == "b.avi"
    (home / "walk/a.avi").unlink()
    put(home, "walk/a.avi")
    link_media(match_media([official], [source]).present, home)
    assert not (home / "walk/a.avi").is_symlink()


names = st.from_regex(r"[a-zA-Z0-9 ()\[\]!#&;+~@%]{1,12}", fullmatch=True).filter(lambda name: not name.isspace())


@given(
    st.lists(
        st.tuples(names, names),
        min_size=1,
        max_size=12,
        unique_by=lambda pair: (pair[0].casefold(), pair[1].casefold()),
    ),
    names,
)
def test_an_official_layout_below_any_folder_matches_exactly(
    tmp_path_factory, pairs: list[tuple[str, str]], above: str
) -> None:
    media = [f"{folder}/{stem}.avi" for folder, stem in pairs]
    root = tmp_path_factory.mktemp("match")
    put(root / above, *media)
    found = match_media([table(*media)], [root])
    assert {name: path.relative_to(root / above).as_posix() for name, path in found.present.items()} == {
        name: name for name in media
    }
    assert not found.extra and not found.duplicated
