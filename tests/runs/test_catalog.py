"""`datasets` over a data home with broken data sets: each is a named line, and stops no other command."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from harbench import api, cli
from harbench.errors import DatasetError

BROKEN = {
    "raises": ("raise RuntimeError('no')\nSPEC = 1\n", "RuntimeError: no"),
    "ends": ("import sys\nsys.exit(0)\nSPEC = 1\n", "SystemExit: 0"),
    "deep": ("def deep(): return deep()\nSPEC = deep()\n", "RecursionError: "),
    "other": ("if False:\n    pass\nSPEC = 5\n", "expected SPEC = DatasetSpec(name='other'"),
    "unnamed": ("if False:\n    SPEC = 1\n'''\nSPEC = 1\n'''\n", "expected SPEC = DatasetSpec(name='unnamed'"),
    "folder": (None, "IsADirectoryError: "),
    "ruled": ("", "expected SPEC.rows(split) to yield Sample"),
    "empty": ("", "samples.csv, line 1: expected the columns"),
    "latin": ("", "expected a readable UTF-8 text file"),
}
SPEC = """from harbench.records import DatasetSpec
SPEC = DatasetSpec(name={name!r}, title="T", modality="video", unit="video", splits=("official",){more})
"""


@pytest.fixture
def home(toy_home: Path) -> Path:
    """The toy data set among broken ones."""
    for name, (source, _) in BROKEN.items():
        path = toy_home / "datasets" / f"{name}.py"
        if source is None:
            path.mkdir()
        else:
            path.write_text(
                source or SPEC.format(name=name, more=", rows=lambda split: [1]" if name == "ruled" else "")
            )
        table = toy_home / "splits" / name / "samples.csv"
        table.parent.mkdir()
        table.write_bytes(b"media,class,official\n\xe9.avi,a,train\n" if name == "latin" else b"")
    return toy_home


def test_a_broken_data_set_is_a_named_line(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {each.name: each for each in api.datasets(home=home)}
    assert {name for name, each in found.items() if each.problem} == set(BROKEN)
    assert all(words in found[name].problem for name, (_, words) in BROKEN.items())
    assert found["toy"].samples == 6 and found["ucf101"].samples == 13320
    said = []
    for more in ((), ("--json",)):
        monkeypatch.setattr(sys, "argv", ["harbench", "--home", str(home), "datasets", *more])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 3
        said.append(capsys.readouterr().out)
    assert "13320" in said[0] and all(f"damaged  {name}: " in said[0] for name in BROKEN)
    assert {each["name"] for each in json.loads(said[1]) if each["problem"]} == set(BROKEN)


@pytest.mark.parametrize("name", BROKEN)
def test_one_that_is_asked_for_is_an_error_and_others_are_not_affected(home: Path, name: str) -> None:
    with pytest.raises(DatasetError) as told:
        api.datasets(name, home=home)
    assert BROKEN[name][1] in str(told.value)
    assert api.datasets("toy", home=home)[0].problem == ""
    assert not api.splits("toy", home=home)[0].problems
