"""Person boxes from the publisher's XML, which the user has: never shipped, read at prepare.

Stanford 40 Actions: `<annotation>` with `<size>` and one `<object>` holding `<bndbox>`; read by tag, since the children
of bndbox stand in no fixed order. Boxes are stored as fractions of the XML's own size, so that they fit a scaled copy.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from harbench.errors import MediaError
from harbench.files import replacing

Box = tuple[float, float, float, float]
"""Left, top, right, bottom as fractions of width and height."""
_FIELDS = ("media", "xmin", "ymin", "xmax", "ymax")
_MOST = 1 << 20
"""Bytes; an annotation is a few hundred."""


def boxes_file(home: Path, dataset: str) -> Path:
    """`<home>/<dataset>/boxes.csv`."""
    return home / dataset / "boxes.csv"


def read_boxes(media: Sequence[str], roots: Sequence[Path]) -> dict[str, Box]:
    """The box of each media whose `<stem>.xml` is somewhere under `roots`. Raises MediaError for a malformed one."""
    stems = {Path(name).stem.casefold(): name for name in media}
    found: dict[str, Box] = {}
    for root in roots:
        for path in sorted(root.rglob("*.xml")):
            name = stems.get(path.stem.casefold())
            if name is not None:
                found.setdefault(name, parse_box(path))
    return {name: found[name] for name in media if name in found}


def parse_box(path: Path) -> Box:
    """The person's box of one annotation. Raises MediaError with what is wrong with the file."""
    content = path.read_bytes()
    if len(content) > _MOST or b"<!" in content.replace(b"<!--", b""):
        raise MediaError(f"{path} is no annotation: it is larger than a megabyte or declares a document type")
    try:
        root = ElementTree.fromstring(content)
        width, height = (float(root.findtext(f"size/{tag}", "")) for tag in ("width", "height"))
        left, top, right, bottom = (
            float(root.findtext(f"object/bndbox/{tag}", "")) for tag in ("xmin", "ymin", "xmax", "ymax")
        )
    except (ElementTree.ParseError, ValueError) as error:
        raise MediaError(f"{path}: expected size and object/bndbox with four numbers: {error}") from None
    box = (left / width, top / height, right / width, bottom / height) if width > 0 and height > 0 else (0, 0, 0, 0)
    clipped = tuple(min(1.0, max(0.0, value)) for value in box)
    if not (clipped[0] < clipped[2] and clipped[1] < clipped[3]):
        raise MediaError(f"{path}: the box {left, top, right, bottom} is empty in an image of {width:g} x {height:g}")
    return clipped[0], clipped[1], clipped[2], clipped[3]


def save_boxes(home: Path, dataset: str, boxes: Mapping[str, Box]) -> None:
    """Write boxes.csv, whole or not at all."""
    with replacing(boxes_file(home, dataset)) as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(_FIELDS)
        writer.writerows((name, *(f"{value:.6f}" for value in box)) for name, box in boxes.items())


def load_boxes(home: Path, dataset: str) -> dict[str, Box]:
    """The boxes that `prepare` found. Raises MediaError when there are none."""
    path = boxes_file(home, dataset)
    if not path.is_file():
        raise MediaError(
            f"there are no person boxes of {dataset}: {path} is missing. Prepare it again with the annotations beside "
            f"the media:  harbench prepare {dataset} --from DIR   (or --archive with the XML archive)"
        )
    try:
        with open(path, encoding="utf-8", newline="") as handle:
            return {
                row["media"]: (float(row["xmin"]), float(row["ymin"]), float(row["xmax"]), float(row["ymax"]))
                for row in csv.DictReader(handle)
            }
    except (OSError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise MediaError(f"{path} is damaged ({error}); delete it and run harbench prepare {dataset} again") from None
