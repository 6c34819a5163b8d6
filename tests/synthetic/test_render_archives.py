"""The archives of `sample` and `sample_stills`: what is in them, and that it is the same every time."""

from __future__ import annotations

import csv
import importlib.util
import io
import zipfile
from collections import Counter
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from harbench.datasets import sample, sample_stills
from harbench.datasets.sample import CLASSES, REVERSED, media_name
from harbench.datasets.sample_stills import PROPS, still_name
from harbench.datasets.skeleton_files import read_skeleton
from harbench.errors import DatasetError
from harbench.paths import shipped
from harbench.records import DatasetSpec
from harbench.synthetic import archive, draw
from harbench.synthetic.archive import render_archives, video_members
from harbench.synthetic.stills import still, still_members
from harbench.synthetic.take import make_take


@pytest.fixture(scope="module")
def members() -> dict[str, bytes]:
    """Scenario 1 of person 5: the one with skeletons, masks and plates."""
    return dict(video_members("r1", 5, scenarios=(1,)))


def decoded(content: bytes) -> np.ndarray:
    with av.open(io.BytesIO(content)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.mark.parametrize("module", [sample, sample_stills], ids=lambda module: module.SPEC.name)
def test_the_committed_table_follows_the_rules(module) -> None:  # type: ignore[no-untyped-def]
    spec: DatasetSpec = module.SPEC
    with open(shipped("splits") / spec.name / "samples.csv", encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert rows == list(module.split_rows())
    for split, (train, val, test) in spec.counts.items():
        assert Counter(row[split] for row in rows if row[split]) == Counter(train=train, val=val, test=test)
        persons = {subset: {row["group"] for row in rows if row[split] == subset} for subset in ("train", "test")}
        leaking = persons["train"] & persons["test"]
        assert bool(leaking) == (split == "random")
    keys = (shipped("splits") / spec.name / "classes.txt").read_text(encoding="utf-8").splitlines()
    assert {line.split("\t")[0] for line in keys} == {row["class"] for row in rows}


def test_rendered_frames_have_the_committed_hashes() -> None:
    """Frames before coding, so that another encoder changes nothing; see splits/sample/README.md if this fails."""
    spec = importlib.util.spec_from_file_location("build_sample", shipped("splits") / "build_sample.py")
    assert spec and spec.loader
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    committed = (shipped("splits") / "sample" / "frames.sha256").read_text(encoding="utf-8").splitlines()
    assert committed == [f"{build.frames_hash(key)}  {key}" for key in build.HASHED]


def test_videos_are_what_the_data_set_says(members: dict[str, bytes]) -> None:
    for label in CLASSES:
        content = members[media_name(label, 5, 1, "r1")]
        with av.open(io.BytesIO(content)) as container:
            stream = container.streams.video[0]
            assert (container.format.name, stream.codec_context.name) == ("avi", "mpeg4")
            assert (stream.width, stream.height, float(stream.average_rate)) == (160, 120, 25.0)
            frames = list(container.decode(video=0))
        assert all(frame.pict_type == av.video.frame.PictureType.I for frame in frames)
        joints = np.load(io.BytesIO(members[f"{label}/person05_{label}_d1_r1.joints.npy"]), allow_pickle=False)
        assert joints.shape == (len(frames), 1, 17, 3)


def test_what_is_decoded_is_what_was_drawn(members: dict[str, bytes]) -> None:
    drawn = np.stack(draw.frames(make_take("box", 5, 1, "r1"))).astype(float)
    error = decoded(members["box/person05_box_d1_r1.avi"]) - drawn
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 36


def test_standing_up_is_sitting_down_backwards(members: dict[str, bytes]) -> None:
    down, up = (decoded(members[media_name(label, 5, 1, "r1")]) for label in REVERSED)
    assert np.array_equal(up, down[::-1])
    assert not np.array_equal(up, down)


def test_skeletons_masks_and_plates(members: dict[str, bytes], tmp_path: Path) -> None:
    names = [name for name in members if name.startswith("skeletons/")]
    assert sorted(names) == [f"skeletons/S001C001P005R001A{place:03d}.skeleton" for place in range(1, 9)]
    path = tmp_path / "a.skeleton"
    path.write_bytes(members[names[0]])
    frames = read_skeleton(path)
    assert len(frames) == len(decoded(members["walk/person05_walk_d1_r1.avi"]))
    assert {len(bodies) for bodies in frames} == {0, 1, 2}
    for label in CLASSES:
        stem = f"{label}/person05_{label}_d1_r1"
        mask, plate = (
            cv2.imdecode(np.frombuffer(members[f"{kind}/{stem}.png"], np.uint8), cv2.IMREAD_UNCHANGED)
            for kind in ("masks", "plates")
        )
        assert set(np.unique(mask)) == {0, 255}
        assert 0.03 < (mask == 255).mean() < 0.3
        video = decoded(members[f"{stem}.avi"])
        difference = np.abs(video[len(video) // 2].astype(float) - plate[..., ::-1]).mean(axis=-1)
        away = cv2.dilate(mask, np.ones((9, 9), np.uint8)) == 0
        if label not in REVERSED:  # there the chair is neither person nor plate
            assert difference[away].mean() < 4
        assert difference[mask == 255].mean() > 20


def test_the_color_of_the_prop_is_the_class() -> None:
    colors = np.array(list(PROPS.values()), float)
    twins = [colors.tolist().index(color[::-1].tolist()) for color in colors]
    assert twins == [1, 0, 3, 2, 5, 4]
    for index, label in enumerate(PROPS):
        picture, mask, plate = still(label, 3, 1)
        prop = picture[mask == 255].astype(float)
        for channels, expected in ((prop, index), (prop[:, ::-1], twins[index])):
            distance = np.linalg.norm(channels[:, None] - colors, axis=-1)
            votes = Counter(distance.argmin(axis=1)[distance.min(axis=1) < 40].tolist())
            assert votes.most_common(1)[0][0] == expected
        assert np.array_equal(
            picture[cv2.dilate(mask, np.ones((3, 3), np.uint8)) == 0],
            plate[cv2.dilate(mask, np.ones((3, 3), np.uint8)) == 0],
        )


def test_stills_carry_mask_and_plate() -> None:
    members = dict(still_members(1))
    assert len(members) == 3 * len(PROPS) * len(sample.SCENARIOS)
    name = still_name("red_flag", 1, 1)
    assert cv2.imdecode(np.frombuffer(members[name], np.uint8), cv2.IMREAD_COLOR).shape == (120, 160, 3)
    assert f"masks/{name.removesuffix('.jpg')}.png" in members


def test_archives_are_rendered_once_and_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "PERSONS", (1, 2))
    seen: list[int | None] = []

    def track(items, what, total=None):  # type: ignore[no-untyped-def]
        seen.append(total)
        yield from items

    alone = render_archives(sample_stills.SPEC, ["official"], tmp_path / "a", track=track)
    assert [path.name for path in alone] == ["stills-person01.zip", "stills-person02.zip"]
    alone[0].unlink()
    old = alone[1].stat().st_mtime_ns
    assert render_archives(sample_stills.SPEC, ["official"], tmp_path / "a", track=track) == alone
    assert alone[1].stat().st_mtime_ns == old
    assert seen == [2, 1]
    together = render_archives(sample_stills.SPEC, ["official"], tmp_path / "b", workers=2)
    assert [path.read_bytes() for path in together] == [path.read_bytes() for path in alone]
    with zipfile.ZipFile(alone[0]) as opened:
        assert opened.testzip() is None
        table = {row["media"] for row in sample_stills.split_rows() if row["group"] == "person01"}
        assert table <= set(opened.namelist())


def test_splits_ask_for_the_archives_that_they_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "PERSONS", (1,))
    monkeypatch.setattr(archive, "_write_archive", lambda part, person, path: path)
    wanted = {
        split: [path.name for path in render_archives(sample.SPEC, [split], tmp_path)] for split in sample.SPEC.splits
    }
    assert wanted == {
        "official": ["r1-person01.zip", "r2-person01.zip"],
        "small": ["r1-person01.zip"],
        "random": ["r1-person01.zip", "r2-person01.zip"],
        "biased": ["biased-person01.zip"],
    }
    for part in ("r1", "r2", "biased"):
        rows = [row for row in sample.split_rows() if row["group"] == "person01"]
        splits = [split for split, parts in sample.SPLIT_PARTS.items() if part in parts]
        named = {media_name(label, 1, d, part) for label in CLASSES for d in sample.SCENARIOS}  # type: ignore[arg-type]
        assert named <= {row["media"] for row in rows if any(row[split] for split in splits)}


def test_an_interrupted_archive_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(person: int):  # type: ignore[no-untyped-def]
        yield "red_flag/a.jpg", b"x"
        raise KeyboardInterrupt

    monkeypatch.setattr(archive, "still_members", broken)
    with pytest.raises(KeyboardInterrupt):
        render_archives(sample_stills.SPEC, ["official"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_harbench_does_not_render_is_said(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no split 'split1'; there are official, small"):
        render_archives(sample.SPEC, ["split1"], tmp_path)
    other = DatasetSpec(name="kth", title="KTH", modality="video", unit="video", splits=("official",))
    with pytest.raises(DatasetError, match="cannot render 'kth'"):
        render_archives(other, ["official"], tmp_path)
