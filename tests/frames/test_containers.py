"""Videos as people have them: any tag, cover art, display matrices, damage that a decoder conceals."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from toys import write_video

from harbench.errors import MediaError
from harbench.frames.decoders import VIDEO_DECODERS, choose_decoder, installed

DECODERS = [name for name in VIDEO_DECODERS if installed(name)]
MATRICES = {
    "as it is": (1, 0, 0, 1),
    "hflip": (-1, 0, 0, 1),
    "180": (-1, 0, 0, -1),
    "vflip": (1, 0, 0, -1),
    "transpose": (0, 1, 1, 0),
    "90": (0, 1, -1, 0),
    "transverse": (0, -1, -1, 0),
    "270": (0, -1, 1, 0),
}
"""a, b, c, d of `x' = a x + c y, y' = b x + d y` (ISO/IEC 14496-12, 8.3.2)."""


def read(path: Path, decoder: str = "av") -> tuple[list[np.ndarray], list[str]]:
    with choose_decoder(decoder)(path) as media:
        return [frame.image for frame in media.frames], media.notes


def corners(height: int = 64, width: int = 128) -> np.ndarray:
    """A picture whose four quarters are told apart."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = 250
    image[: height // 2, width // 2 :] = (250, 0, 0)
    image[height // 2 :, : width // 2] = (0, 0, 250)
    return image


def moved(image: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """Every pixel where the matrix puts it."""
    a, b, c, d = matrix
    y, x = np.indices(image.shape[:2])
    columns, rows = a * x + c * y, b * x + d * y
    out = np.zeros((int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1, 3), np.uint8)
    out[rows - rows.min(), columns - columns.min()] = image
    return out


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", MATRICES)
def test_every_display_matrix_is_applied_or_refused(name: str, decoder: str, tmp_path: Path) -> None:
    path, matrix = tmp_path / "v.mp4", MATRICES[name]
    write_video(path, np.stack([corners()] * 3))
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    a, b, c, d = (65536 * value for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    mirrored = matrix[0] * matrix[3] - matrix[1] * matrix[2] < 0
    if decoder not in ("av", "opencv") and mirrored:
        with pytest.raises(MediaError, match="use --decoder av"):
            read(path, decoder)
        return
    (first, *_), _ = read(path, decoder)
    expected = moved(corners(), matrix)
    assert first.shape == expected.shape
    assert np.abs(first.astype(int) - expected).mean() < 12, "up to MPEG-4"


@pytest.mark.parametrize("strict", [False, True], ids=["as it is", "a PyAV without metadata_errors"])
def test_tags_of_any_encoding(strict: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = tmp_path / "v.avi", av.open
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv420p"
        container.metadata["title"] = "Cafe"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(corners(), format="rgb24")))
        container.mux(stream.encode())
    if strict:

        def without(file: object) -> object:
            return real(file)

        monkeypatch.setattr(av, "open", without)
    else:
        data = path.read_bytes()
        assert b"Cafe" in data
        path.write_bytes(data.replace(b"Cafe", b"Caf\xe9"))
    frames, notes = read(path)
    assert (len(frames), notes) == (1, [])


def test_cover_art_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuvj420p"
        stream.disposition = Disposition.attached_pic
        container.mux(stream.encode(av.VideoFrame.from_ndarray(corners(), format="rgb24")))
        container.mux(stream.encode())
    for decoder in DECODERS:
        with pytest.raises(MediaError, match="only cover art"):
            read(path, decoder)


@pytest.mark.parametrize(
    ("name", "decoder", "frames", "size", "words"),
    [
        ("bitflip_h264.mp4", "av", 0, (), "damaged after frame 8: errors are concealed in frame 8"),
        ("trunc.mp4", "av", 32, (64, 96), "cut short after frame 32 of 60"),
        ("trunc.mp4", "opencv", 30, (64, 96), "the header declares 60 frames, 30 decode"),
        ("cover_first.mp4", "av", 24, (64, 96), ""),
        ("cover_first.mp4", "opencv", 0, (), "cover art that stands before its video; use --decoder av"),
        ("hflip.mp4", "av", 24, (64, 96), ""),
        ("hflip.mp4", "opencv", 24, (64, 96), ""),
        ("anim.gif", "av", 24, (64, 96), ""),
        ("cap.ts", "av", 24, (64, 96), ""),
    ],
)
def test_odd_videos(name: str, decoder: str, frames: int, size: tuple[int, ...], words: str, test_data: Path) -> None:
    if not frames:
        with pytest.raises(MediaError, match=words):
            read(test_data / "odd" / name, decoder)
        return
    images, notes = read(test_data / "odd" / name, decoder)
    assert len(images) == frames and images[0].shape == (*size, 3)
    assert words in " ".join(notes) and bool(words) == bool(notes)
    if name == "hflip.mp4":  # the green square stands on the left in the file
        assert images[0][5, -5, 1] > 200 > 100 > images[0][5, 5, 1]
