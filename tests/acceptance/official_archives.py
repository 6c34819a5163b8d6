"""Archives of whole data sets, generated: all official names in their official packing, as clips of a few pixels.

Every clip is an uncompressed AVI with noise of its own for pixels, so that no two media are equal, and none takes an
encoder: 13,320 are made in seconds.
"""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np
from rar_writer import rar3, rar5

from harbench import paths

COUNTS = {"ucf101": 13320, "ucf101-thumos": 13320, "hmdb51": 6766, "kth": 599, "stanford40": 9532, "weizmann": 90}
"""Media of the fact sheets; of HMDB51 6,371 are in one of its splits."""
IN_SPLITS = {**COUNTS, "hmdb51": 6371}
Members = list[tuple[str, bytes]]
TITLE = b"Title of a film"


def table(dataset: str) -> list[dict[str, str]]:
    """The rows of samples.csv."""
    with open(paths.shipped("splits") / dataset / "samples.csv", encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def media_of(dataset: str, limit: int) -> tuple[list[str], int]:
    """The official media, and how many a whole `prepare` needs; with a limit just the first ones of the splits."""
    from harbench.datasets.tables import load_spec
    from harbench.prepare.pipeline import official_order

    in_splits = official_order(load_spec(dataset), Path("nowhere"))
    if limit < len(in_splits):
        return list(in_splits[:limit]), limit
    return list(dict.fromkeys(row["media"] for row in table(dataset))), len(in_splits)


@cache
def template(frames: int, width: int, height: int) -> tuple[bytes, tuple[int, ...]]:
    """An AVI of raw frames with a title of its own and one of its stream, and where the pixels of each begin."""
    out = io.BytesIO()
    with av.open(out, "w", format="avi") as container:
        container.metadata["title"] = TITLE.decode()
        stream = container.add_stream("rawvideo", rate=25)
        stream.metadata["title"] = TITLE.decode()
        stream.width, stream.height, stream.pix_fmt = width, height, "bgr24"
        for number in range(frames):
            picture = np.full((height, width, 3), number % 256, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode())
    content = out.getvalue()
    chunk = b"00dc" + (3 * width * height).to_bytes(4, "little")
    starts = [content.index(chunk) + len(chunk)]
    while len(starts) < frames:
        starts.append(content.index(chunk, starts[-1] + 3 * width * height) + len(chunk))
    return content, tuple(starts)


def clip(name: str, frames: int = 5, width: int = 24, height: int = 16, title: bytes = TITLE) -> bytes:
    """A video of noise that follows from its name; the width is a multiple of four, as AVI pads its rows to four bytes."""
    assert len(title) == len(TITLE)
    content, starts = template(frames, width, height)
    size = 3 * width * height
    noise = hashlib.shake_128(name.encode("utf-8", "surrogateescape")).digest(frames * size)
    video = bytearray(content)
    for number, start in enumerate(starts):
        video[start : start + size] = noise[number * size : (number + 1) * size]
    return bytes(video).replace(TITLE, title)


def clips(media: list[str]) -> Iterator[tuple[str, bytes]]:
    for name in media:
        yield name, clip(name)


def zipped(members: Members) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), content)
    return out.getvalue()


def ucf101(media: list[str]) -> dict[str, bytes]:
    return {"UCF101.rar": rar5([(f"UCF-101/{name}", content) for name, content in clips(media)])}


def ucf101_thumos(media: list[str]) -> dict[str, bytes]:
    """Flat, and HandstandPushups spelt as its class."""
    flat = [
        (f"UCF101/{Path(name).name.replace('HandStandPushups', 'HandstandPushups')}", content)
        for name, content in clips(media)
    ]
    return {"UCF101_videos.zip": zipped(flat)}


def hmdb51(media: list[str]) -> dict[str, bytes]:
    """A RAR of RARs, one a class; a hundredth of the clips has Latin-1 titles, as some official ones do."""
    classes: dict[str, Members] = defaultdict(list)
    for number, name in enumerate(media):
        title = b"Les Mis\xe9rables." if number % 100 == 0 else TITLE
        classes[name.split("/")[0]].append((name, clip(name, title=title)))
    return {"hmdb51_org.rar": rar3([(f"{label}.rar", rar3(members)) for label, members in classes.items()])}


def kth(media: list[str]) -> dict[str, bytes]:
    """Six flat zips; every video as long as its last sequence."""
    length: dict[str, int] = defaultdict(int)
    for row in table("kth"):
        length[row["media"]] = max(length[row["media"]], int(row["end"]))
    actions: dict[str, Members] = {
        name: [] for name in ("walking", "jogging", "running", "boxing", "handwaving", "handclapping")
    }
    for name in media:
        actions[name.split("_")[1]].append((name, clip(name, length[name], 8, 8)))
    return {f"{action}.zip": zipped(members) for action, members in actions.items()}


def stanford40(media: list[str]) -> dict[str, bytes]:
    pictures, notes = [], []
    for name in media:
        picture = np.frombuffer(hashlib.shake_128(name.encode()).digest(24 * 32 * 3), np.uint8).reshape(24, 32, 3)
        pictures.append((f"JPEGImages/{name}", cv2.imencode(".jpg", picture)[1].tobytes()))
        notes.append((f"XMLAnnotations/{Path(name).stem}.xml", ANNOTATION.encode()))
    return {"Stanford40_JPEGImages.zip": zipped(pictures), "Stanford40_XMLAnnotations.zip": zipped(notes)}


ANNOTATION = (
    "<annotation><object><name>person</name><bndbox><xmax>30</xmax><xmin>2</xmin><ymax>20</ymax><ymin>3</ymin></bndbox>"
    "</object><size><depth>3</depth><height>24</height><width>32</width></size></annotation>"
)


def weizmann(media: list[str]) -> dict[str, bytes]:
    return {"weizmann.zip": zipped(list(clips(media)))}


PACKED: Mapping[str, Callable[[list[str]], dict[str, bytes]]] = {
    "ucf101": ucf101, "ucf101-thumos": ucf101_thumos, "hmdb51": hmdb51, "kth": kth, "stanford40": stanford40,
    "weizmann": weizmann,
}  # fmt: skip
