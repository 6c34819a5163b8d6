"""`browse`: a contact sheet of what was prepared, with failures, mistakes and limits."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from toys import many_people
from typer.testing import CliRunner

from harbench import api
from harbench.cli import app
from harbench.errors import CacheError, DatasetError, RunError
from harbench.records import Sample
from harbench.reporting import browse as module


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return many_people(tmp_path_factory.mktemp("browse"))


def test_every_sample_has_its_pictures(many: Path, tmp_path: Path) -> None:
    sheet = api.browse("many", home=many / "home", output=tmp_path / "many.html")
    text = (tmp_path / "many.html").read_text()
    assert (sheet.samples, sheet.shown, sheet.missing, sheet.failed) == (12, 12, 0, {})
    assert sheet.bytes == len(text.encode())
    assert text.count("<section") == 2
    cells = re.findall(r'<li class="(train|test)" data-p="(\d+)" data-n="4" title="(\S+), 0\.4 s"', text)
    assert len(cells) == 12
    assert [int(place) for _, place, _ in cells] == [*range(0, 24, 4)] * 2
    assert sum(subset == "test" for subset, _, _ in cells) == 4
    (sprite, _) = re.findall(r"data:image/jpeg;base64,([^\"]+)", text)
    image = cv2.imdecode(np.frombuffer(base64.b64decode(sprite), np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (64, 24 * 64, 3)
    assert image.std() > 10
    assert "http" not in re.sub(r"data:[^\"]+|http-equiv", "", text), "no request leaves the page"


def test_mistakes_of_a_run_stand_first(many: Path, tmp_path: Path) -> None:
    shared = {"home": many / "home", "runs": many / "runs"}
    (done,) = api.run([str(many / "many.yaml")], device="cpu", **shared)
    wrong = round(4 * (1 - (done.metrics["top1"] or 0) / 100))
    api.browse("many", run=Path(done.folder), output=tmp_path / "a.html", **shared)
    text = (tmp_path / "a.html").read_text()
    assert len(re.findall(r'<li class="test wrong"', text)) == wrong
    assert f"the {wrong} that" in text
    record = Path(done.folder) / "run.json"
    facts = json.loads(record.read_text())
    (tmp_path / "copy").mkdir()
    for path in Path(done.folder).iterdir():
        if path.is_file():
            (tmp_path / "copy" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "copy/run.json").write_text(json.dumps({**facts, "split": "lopo-ann", "record_sha256": ""}))
    with pytest.raises(RunError, match="is a run on many lopo-ann, and this sheet is of many official"):
        api.browse("many", run=tmp_path / "copy", output=tmp_path / "b.html", **shared)


def test_what_is_not_there_is_one_sentence(many: Path, tmp_path: Path) -> None:
    with pytest.raises(CacheError, match=r"is not prepared here.*harbench prepare ucf101"):
        api.browse("ucf101", home=many / "home", output=tmp_path / "a.html")
    with pytest.raises(DatasetError, match="nothing"):
        api.browse("nothing", home=many / "home", output=tmp_path / "a.html")
    assert list(tmp_path.iterdir()) == []


def test_what_look_alike_is_listed(many: Path, tmp_path: Path) -> None:
    line = ["--quiet", "--home", str(many / "home"), "browse", "many", "-o", str(tmp_path / "a.html"), "--duplicates"]
    done = CliRunner().invoke(app, line)
    assert done.exit_code == 0, done.output
    assert "12 of 12 samples of many official" in done.stdout
    assert "Look alike in test and train" in (tmp_path / "a.html").read_text()


def test_a_large_data_set_shows_as_many_of_each_class(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [Sample(f"{k}/{n}", k, "", "train", f"{k}/{n}") for k in range(3) for n in range((10, 100, 1000)[k])]
    monkeypatch.setattr(module, "MOST", 400)
    limit = module._per_class(rows, 2)
    assert 10 < limit <= 95
    assert (10 + 2 * limit) * 2 <= 400
    monkeypatch.setattr(module, "MOST", 10_000)
    assert module._per_class(rows, 1) == 1000


def test_poses_are_drawn() -> None:
    joints = np.zeros((3, 1, 17, 3), np.float32)
    joints[:2] = np.arange(17)[None, None, :, None] * 10 + 5
    drawn = module._drawn(joints)
    assert [square.shape for square in drawn] == [(64, 64, 3)] * 3
    assert drawn[0].max() > 200
    assert drawn[2].max() == 24, "nobody"
