"""Stills as people have them: turned by EXIF, with a video behind them, cut, damaged."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from harbench.errors import MediaError
from harbench.frames.decoders import decoder_for
from harbench.frames.stills import Picture, decode_still


def picture() -> np.ndarray:
    """Quarters of four colors, and some noise that a JPEG has to spend bytes on."""
    image = np.random.default_rng(0).integers(0, 40, (48, 64, 3), np.uint8)
    image[:24, :32] += np.array((200, 0, 0), np.uint8)
    image[:24, 32:] += np.array((0, 200, 0), np.uint8)
    image[24:, :32] += np.array((0, 0, 200), np.uint8)
    return image


PIXELS = picture()[..., 0].size


def encoded(form: str, orientation: int = 1, **options: object) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    Image.fromarray(picture()).save(out, form, exif=exif, **options)
    return out.getvalue()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_exif_turns_every_form(form: str) -> None:
    for orientation in range(1, 9):
        data = encoded(form, orientation, **({"lossless": True} if form == "WEBP" else {}))
        with Image.open(io.BytesIO(data)) as image:
            expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        found = decode_still(data)
        assert found.image.shape == expected.shape, orientation
        assert np.abs(found.image.astype(int) - expected).mean() < 6, orientation
        assert found.original == (data if (form, orientation) == ("JPEG", 1) else None)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("limit", [PIXELS - 1, PIXELS // 4])
def test_pictures_of_more_pixels_than_pillow_decodes(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)  # above it a warning, above twice of it an error
    assert decode_still(encoded("JPEG", 6)).image.shape == picture().swapaxes(0, 1).shape
    assert limit == Image.MAX_IMAGE_PIXELS


MOVIE = b"\0\0\0\x18ftypmp42" + b"\xff\xd8 a frame \xff\xda of a movie" * 9
JPEG = encoded("JPEG", quality=95)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (JPEG + MOVIE, ""),
        (encoded("JPEG", progressive=True) + MOVIE, ""),
        (JPEG[:-2] + b"\1\2\3" + JPEG[-2:], "extraneous bytes"),
        (JPEG[: len(JPEG) // 2] + b"\xff\xd9", "damaged: "),
        (JPEG[: len(JPEG) // 2], "cut short"),
        (b"\xff\xd8 no image \xff\xd9", "finds no image"),
        (encoded("PNG")[:-200], ""),
    ],
    ids=["motion photo", "progressive motion photo", "stray bytes", "early end", "cut", "no image", "cut PNG"],
)
def test_jpegs_end_where_their_markers_say(data: bytes, words: str, capfd: pytest.CaptureFixture[str]) -> None:
    found: Picture | None = None
    told = ""
    try:
        found = decode_still(data)
        told = found.note
    except MediaError as error:
        told = str(error)
    assert words in told
    if MOVIE in data:
        assert found is not None and np.abs(found.image.astype(int) - picture()).mean() < 20
        assert found.original in (None, JPEG), "what stands behind the picture is no part of it"
    else:
        assert (found is not None) == ("extraneous" in words)
    assert "JPEG" not in capfd.readouterr().err, "nothing without a name on stderr"


@pytest.mark.parametrize(("name", "words"), [("MVIMG_1.jpg", ""), ("early_eoi.jpg", "damaged: Corrupt JPEG data")])
def test_odd_pictures(name: str, words: str, test_data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    told = ""
    try:
        with decoder_for(Path(name))(test_data / "odd" / name) as media:
            assert [frame.image.shape for frame in media.frames] == [(60, 90, 3)]
    except MediaError as error:
        told = str(error)
    assert told.startswith(words) and bool(told) == bool(words)
    assert capfd.readouterr().err == ""
