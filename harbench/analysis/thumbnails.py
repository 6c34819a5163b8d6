"""One small picture a sample, from the caches of the data home, as data: addresses that a page carries in itself.

Caches are read by their blocks (`harbench.frames.blocks`), not opened whole: a report must start quickly.
"""

from __future__ import annotations

import io
import json
from base64 import b64encode
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from harbench.datasets.tables import load_split
from harbench.errors import DatasetError
from harbench.frames.blocks import Entry, block_of, padded, read_entries, tar_path
from harbench.paths import cache_folder
from harbench.records import RunRecord, Sample

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_SIDE = 96
"""Pixels of the short side, at most twice that: enough to see who does what."""
_QUALITY = 70
_JPEG, _NPY = b"\xff\xd8", b"\x93NUMPY"


def thumbnails(record: RunRecord, sample_ids: Iterable[str], home: Path) -> dict[str, str]:
    """Sample id -> `data:` address of its middle frame, for those whose media are in a cache under `home`.

    Pixels come from the cache that the run read, else from the data set's smallest one; of poses the joints are drawn.
    """
    folder = _cache(home, record)
    if folder is None:
        return {}
    try:
        rows = {sample.sample_id: sample for sample in load_split(record.dataset, record.split, home).samples}
    except DatasetError:
        return {}
    wanted = [rows[name] for name in dict.fromkeys(sample_ids) if name in rows]
    entries = _entries(folder, {sample.media for sample in wanted})
    drawn = {
        sample.sample_id: _picture(folder, *entries[sample.media], sample, "3D" in record.protocol.modality)
        for sample in wanted
        if sample.media in entries
    }
    return {name: picture for name, picture in drawn.items() if picture}


def _cache(home: Path, record: RunRecord) -> Path | None:
    own = cache_folder(home, record.dataset, record.protocol.cache)
    if any(own.glob("frames-*.idx")):
        return own
    others = [path for path in own.parent.glob("rgb-*") if any(path.glob("frames-*.idx"))]
    return min(others, key=lambda path: (len(path.name), path.name), default=None)


def _entries(folder: Path, media: set[str]) -> dict[str, tuple[int, Entry]]:
    """Media -> its block and index entry. A block is parsed only if its index names one of them."""
    names = {json.dumps(name).encode() for name in media}
    found: dict[str, tuple[int, Entry]] = {}
    for path in sorted(path for path in folder.glob("frames-*.idx") if path.is_file()):
        content = path.read_bytes()
        if any(name in content for name in names):
            block = block_of(path)
            found |= {name: (block, entry) for name, entry in read_entries(folder, block).items() if name in media}
    return found


def _picture(folder: Path, block: int, entry: Entry, sample: Sample, upwards: bool) -> str:
    first, end = sample.start or 0, min(sample.end or entry.frames, entry.frames)
    middle = min((first + end) // 2, entry.frames - 1)
    single = len(entry.sizes) == 1
    content = _member(folder, block, entry, 0 if single else middle)
    if content.startswith(_JPEG) and entry.channels == 3:
        return _shrunk(content)
    if not content.startswith(_NPY):
        return ""
    import numpy as np

    frames = np.load(io.BytesIO(content), allow_pickle=False)
    if frames.dtype == np.uint8:
        return _encoded(frames[middle]) if entry.channels == 3 else ""
    return _joints(frames[middle], upwards)


def _member(folder: Path, block: int, entry: Entry, index: int) -> bytes:
    """The bytes of one member of a media; empty when the tar was cut since."""
    start = entry.start + sum(padded(size) + entry.header for size in entry.sizes[:index])
    with open(tar_path(folder, block), "rb") as handle:
        handle.seek(start)
        content = handle.read(entry.sizes[index])
    return content if len(content) == entry.sizes[index] else b""


def _shrunk(content: bytes) -> str:
    import simplejpeg

    try:
        return _encoded(simplejpeg.decode_jpeg(content, colorspace="RGB"))
    except ValueError:  # damaged since it was written; `harbench prepare --verify` says so
        return ""


def _encoded(pixels: npt.NDArray[np.uint8]) -> str:
    """Pixels [H, W, 3] as a JPEG, averaged down by a whole factor."""
    import numpy as np
    import simplejpeg

    step = max(1, min(pixels.shape[:2]) // _SIDE)
    height, width = (side // step for side in pixels.shape[:2])
    blocks = pixels[: height * step, : width * step].reshape(height, step, width, step, 3)
    small = np.ascontiguousarray(blocks.mean(axis=(1, 3)).round().astype(np.uint8))
    return _address("image/jpeg", simplejpeg.encode_jpeg(small, quality=_QUALITY, colorspace="RGB"))


def _joints(bodies: npt.NDArray[np.float32], upwards: bool) -> str:
    """The joints of one frame, [bodies, joints, 2 or 3], as dots; `upwards`: the second coordinate grows upwards.

    A joint at zero, or that is not a number, is one that was not seen.
    """
    import numpy as np

    points = bodies[..., :2].reshape(-1, 2).astype(np.float64)
    points = points[np.isfinite(points).all(axis=1) & points.any(axis=1)]
    if not len(points):
        return ""
    if upwards:
        points[:, 1] *= -1
    low, span = points.min(axis=0), np.ptp(points, axis=0)
    # As tall as wide, with a margin of 12 on each side of 96.
    placed = 12 + (points - low + (span.max() - span) / 2) * 72 / max(float(span.max()), 1e-9)
    dots = "".join(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="3"/>' for x, y in placed)
    picture = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 96 96" fill="#4a8fd8">{dots}</svg>'
    return _address("image/svg+xml", picture.encode())


def _address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{b64encode(content).decode()}"
