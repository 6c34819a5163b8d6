"""Every real video by every decoder that is installed, beside PyAV; what hangs, dies or shuffles is told."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from toys import write_video

from harbench.diagnose.probe import DecoderProbe, answers, probe_video, read_beside_pyav
from harbench.errors import MediaError
from harbench.frames import decoders
from harbench.frames.decode import DecodedMedia, Frame, open_video
from harbench.frames.decoders import VIDEO_DECODERS, installed

FILLED = "packed B-frames: decord gives a picture a packet, and so the last one twice"
# File -> frames by PyAV, frames by others where they are not the same, and why.
REAL: dict[str, tuple[int, dict[str, int], str]] = {
    "video/cockatoo.mp4": (280, {}, "H.264"),
    "video/hollywood2_actioncliptrain00001_mpeg4.avi": (201, {}, "MPEG-4 Part 2"),
    "video/non_utf8_tag.avi": (135, {}, "a title in Latin-1"),
    "video/video_90.mov": (3, {}, "turned by 90 degrees: 568x320 in the file, upright 320x568"),
    "hmdb51/hmdb51_org/wave/RATRACE_wave_f_nm_np1_fr_goo_37.avi": (72, {"decord": 73}, FILLED),
    "hmdb51/hmdb51_org/wave/SchoolRulesHowTheyHelpUs_wave_f_nm_np1_ba_med_0.avi": (74, {"decord": 75}, FILLED),
    "hmdb51/hmdb51_org/wave/TrumanShow_wave_f_nm_np1_fr_med_26.avi": (48, {"decord": 49}, FILLED),
    "kth/person01_boxing_d1_uncomp.avi": (360, {}, "DivX"),
    "kth/person01_handclapping_d1_uncomp.avi": (378, {}, "DivX"),
    "ucf101/UCF-101/Biking/v_Biking_g05_c02.avi": (201, {}, "XviD"),
    "weizmann/daria_bend.avi": (84, {}, "MPEG-4 Part 2"),
}
BROKEN = {
    "video/corrupted.mp4": ("av", "damaged after frame 28", "a damaged packet amid whole ones"),
    "video/zero_byte_dummy_video.avi": ("av", "empty (0 bytes)", "nothing in it"),
}


def test_every_odd_video_stands_in_the_tables(test_data: Path) -> None:
    listed = {Path(name).name for name in (*REAL, *BROKEN) if name.startswith("video/")}
    assert {path.name for path in (test_data / "video").iterdir()} == listed


@pytest.mark.parametrize("name", REAL)
def test_real_videos_by_every_decoder(name: str, test_data: Path) -> None:
    (path,) = [test_data / name] if (test_data / name).exists() else test_data.rglob(Path(name).name)
    frames, others, why = REAL[name]
    asked = [each for each in VIDEO_DECODERS if installed(each)]
    assert {"av", "opencv"} <= set(asked), "counts by two decoders"
    for decoder in asked:
        (found,) = read_beside_pyav(decoder, path)
        assert (found.frames, found.problem) == (others.get(decoder, frames), ""), why
        if decoder != "av":
            assert found.compared == frames and found.in_order is True
            assert found.mean is not None and found.mean < 0.5, "up to how YUV is made RGB"
        if name.endswith("video_90.mov"):
            assert found.size == (320, 568), why


@pytest.mark.parametrize("name", BROKEN)
def test_broken_videos_are_listed_and_not_fatal(name: str, test_data: Path) -> None:
    decoder, words, why = BROKEN[name]
    found = {probe.name: probe for probe in probe_video(test_data / name)}
    assert words in found[decoder].problem, why
    assert set(found) == {each for each in VIDEO_DECODERS if installed(each)}


@contextmanager
def late_decoder(path: Path) -> Iterator[DecodedMedia]:
    """Gives PyAV's first picture twice, as a reader that counts from one does, and is one gray value off."""
    with open_video(path) as media:
        images = [frame.image for frame in media.frames]
        frames = (Frame(image + np.uint8(1)) for image in [images[0], *images[:-1]])
        yield DecodedMedia(frames, 25.0, "late 1")


def test_frames_out_of_place_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ramp = np.tile(np.arange(20, 220, 20, dtype=np.uint8)[:, None, None, None], (1, 48, 64, 3))
    write_video(tmp_path / "ramp.avi", ramp)
    monkeypatch.setattr(decoders, "VIDEO_DECODERS", {"decord": late_decoder})
    (found,) = read_beside_pyav("decord", tmp_path / "ramp.avi")
    assert found.in_order is False and found.compared == 10
    assert found.mean == pytest.approx(18, abs=3), "nine of ten frames are one step of 20 late"


def odd_answers(how: str) -> Iterator[DecoderProbe]:
    """One answer, then trouble."""
    yield DecoderProbe(how)
    if how == "hangs":
        time.sleep(600)
    if how == "dies":
        os.write(2, b"double free or corruption\n")
        os.abort()


@pytest.mark.parametrize(("how", "words"), [("hangs", "still at it after 4 s"), ("dies", "SIGABRT: double free")])
def test_what_hangs_or_dies_is_ended_and_told(how: str, words: str) -> None:
    given = answers(odd_answers, how, patience=4)
    assert next(given).name == how
    with pytest.raises(MediaError, match=words):
        next(given)


def test_what_ends_well_is_all_there() -> None:
    assert [probe.name for probe in answers(odd_answers, "ends", patience=60)] == ["ends"]
