"""The leak sentinel: official lists are clean, random ones are not, whatever they are written as."""

from __future__ import annotations

import csv
import random
import tarfile
from pathlib import Path

import pytest

from harbench.analysis.audit_split import audit
from harbench.cli.texts import audit_text
from harbench.datasets.checks import check_split
from harbench.datasets.tables import load_rows, load_spec, load_split
from harbench.errors import DatasetError


def random_split(dataset: str, seed: int = 0) -> list[tuple[str, str]]:
    """(subset, media), 80 to 20."""
    media = [row.media for row in load_rows(dataset)]
    random.Random(seed).shuffle(media)
    return [("test" if index < len(media) // 5 else "train", each) for index, each in enumerate(media)]


def write_csv(path: Path, rows: list[tuple[str, ...]]) -> Path:
    with open(path, "w", newline="") as handle:
        csv.writer(handle).writerows(rows)
    return path


def test_a_random_split_of_ucf101_leaks_nearly_everything(tmp_path: Path) -> None:
    listed = write_csv(tmp_path / "mine.csv", [("subset", "video_name"), *random_split("ucf101")])
    (found,) = audit("ucf101", [str(listed)], home=tmp_path).splits
    assert found.counts == {"test": 2664, "train": 10656}
    side_of = {media: side for side, media in random_split("ucf101")}
    train = {row.group for row in load_rows("ucf101") if side_of[row.media] == "train"}
    plain = sum(row.group in train for row in load_rows("ucf101") if side_of[row.media] == "test")
    assert found.leaked == plain and 99.5 < found.leaked_percent < 100
    assert 99.6 < found.random_percent < 99.95
    assert found.leaks and not found.same_as and not found.unknown
    assert 2900 < found.official_test["split1"] < 3150


def test_official_lists_of_ucf101_are_clean(test_data: Path, tmp_path: Path) -> None:
    report = audit("ucf101", [str(test_data / "ucf101/ucfTrainTestlist")], home=tmp_path)
    assert [each.same_as for each in report.splits] == ["split1", "split2", "split3"]
    assert [(each.leaked, each.shared, each.leaks) for each in report.splits] == [(0, 0, False)] * 3
    assert report.splits[0].official_test == {"split1": 0, "split2": 3734, "split3": 3696}
    assert report.splits[0].unlisted == ("ucf50", "ucf11") and report.ignored == ("classInd.txt",)
    assert "0.00 %" in audit_text(report)


def test_official_lists_of_hmdb51_share_films_across_classes(test_data: Path, tmp_path: Path) -> None:
    with tarfile.open(test_data / "hmdb51/testTrainMulti_7030_splits.tar.xz") as tar:
        tar.extractall(tmp_path, filter="data")
    report = audit("hmdb51", [str(tmp_path)], home=tmp_path / "home")
    assert [(each.same_as, each.across_classes, each.leaked) for each in report.splits] == [
        ("split1", 457, 0), ("split2", 527, 0), ("split3", 529, 0),
    ]  # fmt: skip
    assert report.splits[0].official_test == {"split1": 0, "split2": 1175, "split3": 1150}
    for each in report.splits:
        (note,) = check_split(load_split("hmdb51", each.name), load_spec("hmdb51")).notes
        assert note.startswith(f"{each.across_classes} of the 1530")


@pytest.mark.parametrize("lost", [0, 3])
def test_persons_on_both_sides_of_the_official_xview_are_no_leak(tmp_path: Path, lost: int) -> None:
    """Nor are they in the list of somebody who could not read three of its files."""
    rows = load_rows("ntu60")
    for side in ("train", "test"):
        names = [row.media for row in rows if row.subsets["xview"] == side]
        (tmp_path / f"{side}.txt").write_text("\n".join(names[lost:]))
    (found,) = audit("ntu60", [f"{side}={tmp_path / side}.txt" for side in ("train", "test")], home=tmp_path).splits
    assert (found.same_as, found.within) == ("" if lost else "xview", "xview")
    assert found.leaked == found.counts["test"] and not found.leaks
    moved = [row.media for row in rows if row.subsets["xview"] == "train"][: lost + 1]
    with (tmp_path / "test.txt").open("a") as listed:
        listed.write("\n" + "\n".join(moved))
    assert (
        audit("ntu60", [f"{side}={tmp_path / side}.txt" for side in ("train", "test")], home=tmp_path).splits[0].leaks
    )


def test_every_way_of_writing_says_the_same(tmp_path: Path) -> None:
    rows = load_rows("ucf101")
    sides = {"train": rows[:40] + rows[200:210], "test": rows[40:60], "val": rows[300:305]}
    sides["test"] += [row for row in rows if "HandstandPushups" in row.media][:3]

    def lists(folder: str, line: str, name: str) -> str:
        (tmp_path / folder).mkdir()
        for side, chosen in sides.items():
            # THUMOS spells the file as the folder, the official list does not
            text = "".join(line.format(media=r.media.replace("Stand", "stand"), stem=r.media[:-4]) for r in chosen)
            (tmp_path / folder / name.format(side=side)).write_text(text)
        return str(tmp_path / folder)

    official = lists("official", "{media} 1\r\n", "{side}list01.txt")
    mmaction = lists("mmaction", "frames/{stem} 164 0\n", "ucf101_{side}_split_1_rawframes.txt")
    explicit = [f"{side}={official}/{side}list01.txt" for side in sides]
    kaggle = lists("kaggle", "/{media},x\n", "{side}.csv")
    for side in sides:
        path = Path(kaggle, f"{side}.csv")
        path.write_text("clip_path,label\n" + path.read_text())
    columns = write_csv(
        tmp_path / "any.csv",
        [("label", "video_name", "split"), *(("x", r.media, s.upper()) for s, c in sides.items() for r in c)],
    )
    for side, chosen in sides.items():
        for row in chosen:
            (path := tmp_path / "folders" / side / row.media).parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    found = [
        audit("ucf101", sources, home=tmp_path).splits[0]
        for sources in ([official], [mmaction], explicit, [kaggle], [str(columns)], [str(tmp_path / "folders")])
    ]
    for each in found:
        assert each.counts == {"test": 23, "train": 50, "val": 5} and not each.unknown
        assert (each.leaked, each.shared) == (found[0].leaked, 0) and each.leaked > 0
        assert each.official_test == found[0].official_test
    assert len(found[0].absent_classes["test"]) > 90


def test_a_medium_on_both_sides_and_strangers_are_told(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("v_Archery_g01_c01.avi\nv_Nothing_g01_c01.avi\n")
    (tmp_path / "test.txt").write_text("Archery/v_Archery_g01_c01.avi\n")
    (found,) = audit("ucf101", [str(tmp_path)], home=tmp_path).splits
    assert (found.shared, found.leaked, found.unknown) == (1, 1, ("v_Nothing_g01_c01.avi",))


def test_overlapping_data_sets_are_compared_where_a_table_exists(tmp_path: Path) -> None:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets/ucf50.py").write_text(
        "from harbench.records import DatasetSpec\n"
        "SPEC = DatasetSpec(name='ucf50', title='UCF50', modality='video', unit='video', splits=('split1',))\n"
    )
    (tmp_path / "splits/ucf50").mkdir(parents=True)
    rows = load_rows("ucf101")
    write_csv(
        tmp_path / "splits/ucf50/samples.csv",
        [("media", "class", "split1"), *((r.media, r.label, "test") for r in rows[:5]), ("a/b.avi", "a", "train")],
    )
    listed = write_csv(
        tmp_path / "mine.csv", [("media", "split"), *((r.media, "train") for r in rows[2:30]), (rows[50].media, "test")]
    )
    (found,) = audit("ucf101", [str(listed)], home=tmp_path).splits
    assert found.overlaps == {"ucf50 split1": 3} and found.unlisted == ("ucf11",)


def test_what_is_no_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no file or folder"):
        audit("ucf101", [str(tmp_path / "gone")], home=tmp_path)
    (tmp_path / "notes.txt").write_text("hello\n")
    with pytest.raises(DatasetError, match="train=FILE"):
        audit("ucf101", [str(tmp_path)], home=tmp_path)
    with pytest.raises(DatasetError, match="none of its 2 names"):
        audit("ucf101", [f"train={tmp_path}/notes.txt", f"test={tmp_path}/notes.txt"], home=tmp_path)


def test_groups_of_persons_and_none_at_all(tmp_path: Path) -> None:
    for dataset, expected in (("weizmann", (90.0, 100.0)), ("stanford40", None)):
        path = write_csv(tmp_path / f"{dataset}.csv", [("split", "file"), *random_split(dataset)])
        (found,) = audit(dataset, [str(path)], home=tmp_path).splits
        if expected is None:
            assert found.leaked_percent is None and found.random_percent is None and not found.leaks
        else:
            assert expected[0] < found.leaked_percent <= expected[1]
