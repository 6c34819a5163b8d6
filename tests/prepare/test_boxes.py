"""Boxes from the publisher's XML, as fractions, read by tag."""

from __future__ import annotations

import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harbench.errors import MediaError
from harbench.prepare.boxes import load_boxes, parse_box, read_boxes, save_boxes

XML = """<annotation><filename>a_001.jpg</filename><object><name>person</name><action>a</action>
<bndbox><xmax>150</xmax><xmin>50</xmin><ymax>90</ymax><ymin>10</ymin></bndbox></object>
<size><depth>3</depth><height>100</height><width>200</width></size></annotation>"""


def test_read_by_tag_not_by_position(tmp_path: Path) -> None:
    (tmp_path / "a_001.xml").write_text(XML)
    assert parse_box(tmp_path / "a_001.xml") == (0.25, 0.1, 0.75, 0.9)


@pytest.mark.parametrize(
    "damage, words",
    [
        (("<width>200</width>", ""), "expected size"),
        (("<xmin>50", "<xmin>fifty"), "expected size"),
        (("<xmin>50", "<xmin>150"), "is empty"),
        (("<width>200", "<width>0"), "is empty"),
        (("</annotation>", ""), "expected size"),
        (("<annotation>", "<!DOCTYPE x [<!ENTITY e 'e'>]><annotation>"), "document type"),
    ],
)
def test_malformed_annotations_are_named(tmp_path: Path, damage: tuple[str, str], words: str) -> None:
    (tmp_path / "a_001.xml").write_text(XML.replace(*damage))
    with pytest.raises(MediaError, match=words):
        parse_box(tmp_path / "a_001.xml")


def test_saved_and_loaded_again(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="harbench prepare toy"):
        load_boxes(tmp_path, "toy")
    boxes = {"a,b.jpg": (0.0, 0.25, 0.5, 1.0)}
    save_boxes(tmp_path, "toy", boxes)
    assert load_boxes(tmp_path, "toy") == boxes


def test_every_box_of_stanford40(test_data: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(test_data / "stanford40/Stanford40_XMLAnnotations.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".xml")][::100]
        archive.extractall(tmp_path, names)
        media = [Path(name).stem + ".jpg" for name in names]
        boxes = read_boxes(media, [tmp_path])
        assert list(boxes) == media
        for name in names:
            root = ElementTree.fromstring(archive.read(name))
            left, width = float(root.find(".//xmin").text), float(root.find("size/width").text)
            assert boxes[Path(name).stem + ".jpg"][0] == pytest.approx(left / width)
