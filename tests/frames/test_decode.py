"""Decoding against a second decoder, on real and on odd files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from harbench.errors import MediaError
from harbench.frames.decode import frame_rate, open_video
from harbench.frames.decoders import decoder_for
from harbench.frames.flow import shrink


def decoded(path: Path) -> tuple[list[np.ndarray], float, list[str]]:
    with decoder_for(path)(path) as media:
        frames = [frame.image for frame in media.frames]
        return frames, media.fps, media.notes


def test_real_videos_agree_with_opencv(test_data: Path) -> None:
    files = (
        sorted((test_data / "ucf101/UCF-101").rglob("*.avi"))[::3]
        + sorted((test_data / "weizmann").rglob("*.avi"))[::10]
    )
    files += sorted((test_data / "hmdb51").rglob("*.avi")) + sorted((test_data / "kth").glob("*.avi"))
    assert len(files) > 15
    for path in files:
        frames, fps, _ = decoded(path)
        reader, count = cv2.VideoCapture(str(path)), 0
        while True:
            good, image = reader.read()
            if not good:
                break
            if count in (0, 20):
                assert np.abs(frames[count].astype(int) - image[..., ::-1].astype(int)).mean() < 2, path.name
            count += 1
        assert len(frames) == count, path.name
        assert fps == pytest.approx(reader.get(cv2.CAP_PROP_FPS), rel=0.01), path.name


def test_rotation_is_applied(test_data: Path) -> None:
    frames, _, _ = decoded(test_data / "video/video_90.mov")
    reader = cv2.VideoCapture(str(test_data / "video/video_90.mov"))
    assert frames[0].shape == reader.read()[1].shape


@pytest.mark.parametrize("name", ["video_90.mov", "cockatoo.mp4"])
def test_frames_shrunk_while_they_are_decoded_are_those_shrunk_afterwards(test_data: Path, name: str) -> None:
    path = test_data / "video" / name
    with open_video(path) as full, open_video(path, 64) as small:
        for number, (whole, frame) in enumerate(zip(full.frames, small.frames, strict=True)):
            assert frame.size == whole.size == whole.image.shape[:2]
            assert frame.time == whole.time
            expected = shrink(whole.image, 64)
            assert min(frame.image.shape[:2]) == 64 and frame.image.shape == expected.shape
            if number % 20 == 0:
                assert np.abs(frame.image.astype(int) - expected.astype(int)).mean() < 2


def test_broken_files_say_why(test_data: Path, tmp_path: Path) -> None:
    for path in (test_data / "video/zero_byte_dummy_video.avi", test_data / "video/corrupted.mp4"):
        with pytest.raises(MediaError) as error:
            decoded(path)
        assert str(error.value)
    (tmp_path / "x.jpg").write_bytes(b"\xff\xd8 no image")
    with pytest.raises(MediaError):
        decoded(tmp_path / "x.jpg")


def test_stills_are_rgb(tmp_path: Path) -> None:
    image = np.zeros((8, 9, 3), np.uint8)
    image[..., 2] = 250  # OpenCV writes BGR: this is red
    cv2.imwrite(str(tmp_path / "red.png"), image)
    (frame,), fps, _ = decoded(tmp_path / "red.png")
    assert fps == 0 and frame[0, 0].tolist() == [250, 0, 0]


def test_frame_rate_trusts_stamps_over_a_wrong_header() -> None:
    stamps = np.arange(50) / 12.5
    assert frame_rate(25.0, stamps) == pytest.approx(12.5)
    assert frame_rate(12.5, stamps[::-1]) == 12.5
    assert frame_rate(30.0, np.full(5, np.nan)) == 30.0
