"""What README and docs tell people to type: every command is parsed, every recipe is valid, every call fits its function."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from operator import attrgetter
from pathlib import Path

import pytest
import typer
import yaml
from toys import fenced_blocks

from harbench import api
from harbench.cli import app
from harbench.recipe import Recipe

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [
    pytest.param(language, code, id=f"{page.name}-{language}{number}")
    for page in PAGES
    for number, (_, language, code) in enumerate(fenced_blocks(page.read_text(encoding="utf-8")))
    if language
]
TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def parse(words: list[str]) -> None:
    """As the command line does it; raises a usage error."""
    group = typer.main.get_command(app)
    with group.make_context("harbench", words[1:]) as context:
        words = [*getattr(context, "_protected_args", []), *context.args]
        name, command, rest = group.resolve_command(context, words)  # type: ignore[attr-defined]
        command.make_context(name, rest, parent=context)


def check_call(call: ast.Call) -> None:
    """Whether the arguments of `api.name(...)` or `api.Class.name(...)` fit its function."""
    named = {keyword.arg: None for keyword in call.keywords if keyword.arg}
    function = attrgetter(ast.unparse(call.func).removeprefix("api."))(api)
    inspect.signature(function).bind(*call.args, **named)


@pytest.mark.parametrize(("language", "code"), BLOCKS)
def test_what_is_told_can_be_typed(language: str, code: str) -> None:
    if language == "sh":
        for line in code.strip().splitlines():
            words = shlex.split(line, comments=True)
            if words[0] == "make":
                assert words[1] in TARGETS
            else:
                assert words[0] == "harbench", line
                parse(words)
    elif language == "yaml":
        Recipe.model_validate({"name": "page", **yaml.safe_load(code)})
    else:
        assert language == "python"
        calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
        of_api = [each for each in calls if ast.unparse(each.func).startswith("api.")]
        assert of_api
        for call in of_api:
            check_call(call)


def test_a_wrong_command_would_be_noticed() -> None:
    with pytest.raises(Exception, match="No such option"):
        parse(["harbench", "run", "a.yaml", "--no-such-option"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_recipes_settings_and_links_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for recipe in re.findall(r"recipes/\w+\.yaml", text):
        assert (ROOT / recipe).is_file(), recipe
    for link in re.findall(r"\]\(([\w/.-]+)\)", text):
        assert (page.parent / link).exists(), link
    for setting in re.findall(r"`((?:data|train|eval|input|model)\.[\w.]+)", text):
        part: type = Recipe
        for key in setting.split("."):
            assert key in part.model_fields, setting  # type: ignore[attr-defined]
            part = part.model_fields[key].annotation  # type: ignore[attr-defined]


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200
