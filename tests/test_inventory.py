"""The command line as people script it: every option, every exit code, every key of what `--json` prints.

What is scripted must not change unnoticed. A change that is meant is written down with
`HARBENCH_WRITE_INVENTORY=1 python -m pytest tests/test_inventory.py`.
"""

from __future__ import annotations

import inspect
import json
import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from test_cli import harbench
from toys import many_people, toy_videos
from typer.models import OptionInfo

from harbench.cli.app import app

INVENTORY = Path(__file__).with_name("inventory.json")
KEYED_BY_DATA = (
    "caches", "classes", "counts", "failed", "held_out", "metrics", "neighbors", "official_test",
    "per_class", "recall", "settings",
)  # fmt: skip
"""Mappings whose keys are names of classes, metrics, files, packages."""
MANY = "runs/many/many/official/seed0"
OTHER = "runs/many/many+b/official/seed0"
CALLS: tuple[tuple[str, str, int], ...] = (
    ("prepare", "prepare many --short-side 32", 0),
    ("datasets", "datasets many", 0),
    ("splits", "splits many --check", 0),
    ("splits --audit", "splits many --audit train=train.txt --audit test=test.txt", 0),
    ("recipes", "recipes small_cnn_sample", 0),
    ("convert", "convert many --to mmaction2 --output converted", 0),
    ("run --dry-run", "run many.yaml --dry-run", 0),
    ("run", "run many.yaml --device cpu", 0),
    ("run --grid", "run many.yaml --device cpu --tag g --grid train.epochs=1,2 --set data.validation=0.3", 0),
    ("run --tag", "run many.yaml --device cpu --tag b --set train.epochs=1", 0),
    ("evaluate", f"evaluate {MANY} --clips 1 --device cpu", 0),
    ("report", "report many", 0),
    ("compare", f"compare {MANY} {OTHER}", 0),
    ("explain", f"explain {MANY} --device cpu", 0),
    ("score", f"score {MANY}/predictions.npz --dataset many", 0),
    ("ablate", f"ablate {MANY} --device cpu", 0),
    ("features", f"features {MANY} --device cpu", 0),
    ("doctor", "doctor", 0),
    ("bench", "bench decode --from long --clips 4 --rounds 1", 0),
    ("recipes --schema", "recipes --schema", 0),
    ("reproduce", "reproduce expects.yaml --device cpu --output reproduced.md", 4),
    ("check", "check expects.yaml", 4),
    ("prepare --verify", "prepare many --verify", 0),
)
FAILURES: tuple[tuple[str, int], ...] = (
    ("datasets no_such_data_set", 1),
    ("run no_such_recipe.yaml", 1),
    ("run many.yaml --device cpu --tag b --set train.epochs=2", 1),
    ("evaluate runs/none", 1),
    ("score none.npz --dataset many", 1),
    ("prepare", 2),
    ("run --no-such-option", 2),
    ("splits many --check --audit train=test.txt --audit test=test.txt", 4),
)
"""What ends with another exit code than 0: a mistake to mend, a wrong use, a check that does not hold."""


def options() -> dict[str, dict[str, str]]:
    """Command -> parameter -> its type, names and default, as its function declares them."""
    functions = [app.registered_callback, *app.registered_commands]
    return {
        function.__name__: dict(map(_option, *_declared(function))) for each in functions if (function := each.callback)
    }


def _declared(function: Callable[..., Any]) -> tuple[list[inspect.Parameter], list[Any]]:
    hints = get_type_hints(function, include_extras=True)
    declared = [each for each in inspect.signature(function).parameters.values() if each.name != "context"]
    return declared, [hints[each.name] for each in declared]


def _option(parameter: inspect.Parameter, hint: Any) -> tuple[str, str]:
    kind, info = get_args(hint)
    names = [
        each for each in (info.default, *(info.param_decls or ())) if isinstance(each, str)
    ]  # as Annotated keeps them
    if isinstance(info, OptionInfo) and not any(each.startswith("--") for each in names):
        names.append(f"--{parameter.name.replace('_', '-')}")
    default = "required" if parameter.default is parameter.empty else f"= {parameter.default!r}"
    return parameter.name, f"{' '.join(names)} {getattr(kind, '__name__', kind)} {default}".strip()


def keys(value: Any, below: str = "") -> Iterator[str]:
    """Dotted paths of all keys in a JSON value; those of a mapping from data are `*`, those of a list `[]`."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            name = "*" if below.rpartition(".")[2] in KEYED_BY_DATA else key
            path = f"{below}.{name}".lstrip(".")
            yield path
            yield from keys(inner, path)
    elif isinstance(value, list):
        for each in value:
            yield from keys(each, f"{below}[]")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = many_people(tmp_path_factory.mktemp("inventory"))
    toy_videos(folder / "long", frames=40)
    expected = "expect: [{metric: top1, value: 99.9, margin: 1.0, source: nobody}]"
    (folder / "expects.yaml").write_text(f"base: many.yaml\ndescription: A number to miss\n{expected}\n")
    (folder / "train.txt").write_text("left/ann.avi 0\nright/bea.avi 1\n")
    (folder / "test.txt").write_text("left/bea.avi 0\nright/ann.avi 1\n")
    return folder


def test_options_and_json_keys_are_those_that_are_written_down(work: Path) -> None:
    printed: dict[str, list[str]] = {}
    for name, words, code in CALLS:
        said = harbench("--home", "home", *shlex.split(words), "--json", cwd=work, code=code)
        printed[name] = sorted(set(keys(json.loads(said.stdout)))) if said.stdout else []
    for words, code in FAILURES:
        harbench("--home", "home", *shlex.split(words), "--json" if code != 2 else "--quiet", cwd=work, code=code)
    found = {"options": options(), "json": printed}
    if os.environ.get("HARBENCH_WRITE_INVENTORY"):
        INVENTORY.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    written = json.loads(INVENTORY.read_text(encoding="utf-8"))
    for part in ("options", "json"):
        assert found[part] == written[part], part
