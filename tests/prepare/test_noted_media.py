"""What a decoder notes of a media that is kept: in `prepare`, `media.csv`, the run and the report."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from toys import many_people
from typer.testing import CliRunner

from harbench import api
from harbench.cli import app
from harbench.cli.texts import run_text


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A data set one of whose videos says in its header that it has more frames than it has, and a recipe."""
    work = many_people(tmp_path)
    path = work / "videos/left/fay.avi"
    data = bytearray(path.read_bytes())
    for at in (data.index(b"avih") + 8 + 16, data.index(b"strh") + 8 + 32):
        data[at : at + 4] = (500).to_bytes(4, "little")
    path.write_bytes(data)
    return work


def test_notes_reach_everybody(work: Path) -> None:
    words = ["--home", str(work / "home"), "prepare", "many", "--from", str(work / "videos"), "--short-side", "32"]
    done = CliRunner().invoke(app, [*words, "--workers", "1"])
    assert done.exit_code == 0, done.output
    note = "the header declares 500 frames, 10 decode"
    assert "1 new, 11 already there, 0 failed, 1 kept with a note" in done.output
    assert f"  noted      left/fay.avi: {note}" in done.output
    again = CliRunner().invoke(app, [*words, "--workers", "1", "--json"])
    assert json.loads(again.stdout)["noted"] == {"left/fay.avi": note}
    with open(work / "home/many/media.csv", newline="", encoding="utf-8") as handle:
        rows = {row["media"]: row["note"] for row in csv.DictReader(handle)}
    assert rows.pop("left/fay.avi") == note and set(rows.values()) == {""}

    (report,) = api.run(
        [str(work / "many.yaml")], home=work / "home", runs=work / "runs", overrides=("train.epochs=1",)
    )
    footnote = f"1 of 12 media were decoded with a note, the first is left/fay.avi: {note}"
    assert report.notes == (footnote,) and f"note: {footnote}" in run_text(report)
    found = api.report(home=work / "home", runs=work / "runs", output=work / "reports")
    assert any(footnote in table.footnotes for table in found.board.tables)
    assert "left/fay.avi: the header declares 500 frames" in found.page.read_text(encoding="utf-8")
