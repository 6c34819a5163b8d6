"""Imports point one way: the rooms of the design, held by the source itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import harbench

PACKAGE = Path(harbench.__file__).parent
ROOMS = [
    "cli", "api", "diagnose", "inference", "reporting", "analysis", "runs", "prepare", "training", "evaluation", "models",
    "frames", "synthetic", "datasets", "recipe",
]  # fmt: skip
GROUND = {"records", "errors", "paths", "files", "pickles", "workers"}
"""Imported by every room; among themselves they import only errors, and pickles starts its child by workers."""


def room_of(module: str) -> str:
    """`harbench.frames.cache` -> `frames`; the package itself is ground."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "errors"


def imports_of(path: Path) -> set[str]:
    """Every harbench module that a file imports, at top level or inside a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "harbench"}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "harbench":
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = {name for name in names if PACKAGE.parent.joinpath(*name.split(".")).with_suffix(".py").is_file()}
            found |= modules or {node.module}
    return found


SOURCES = sorted(PACKAGE.rglob("*.py"))


def test_sources_were_found() -> None:
    assert len(SOURCES) > 30


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_right_only(path: Path) -> None:
    relative = path.relative_to(PACKAGE)
    room = relative.parts[0].removesuffix(".py")
    if room in ("__init__", "__main__"):
        return
    for module in imports_of(path):
        target = room_of(module)
        if room in GROUND:
            below = {"workers"} if room == "pickles" else set()
            assert target in {room, "errors", "__version__", *below}, (
                f"{relative} is ground and may not import {module}"
            )
        elif target not in GROUND and target != "__version__":
            assert ROOMS.index(target) >= ROOMS.index(room), f"{relative} imports {module}: the arrow points left"


def test_rooms_have_no_circle() -> None:
    """Siblings of a room are free to import each other, but not in a circle."""
    graph = {
        ".".join(("harbench", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): imports_of(
            path
        )
        for path in SOURCES
    }
    state: dict[str, int] = {}

    def visit(module: str, trail: tuple[str, ...]) -> None:
        if state.get(module) == 2 or module not in graph:
            return
        assert state.get(module) != 1, f"a circle of imports: {' -> '.join((*trail, module))}"
        state[module] = 1
        for target in graph[module]:
            visit(target, (*trail, module))
        state[module] = 2

    for module in graph:
        visit(module, ())


def modules_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after `code`."""
    script = f"{code}\nimport sys\nprint(' '.join(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split("\n")[-2].split())


def test_the_command_line_starts_light() -> None:
    loaded = modules_after("import harbench.cli, harbench.api")
    assert "typer" in loaded
    assert not loaded & {"torch", "pandas", "scipy", "cv2", "numpy", "pydantic", "av", "torchvision", "matplotlib"}
    assert "rich" not in loaded, "--help draws nothing"


def test_datasets_need_only_the_standard_library() -> None:
    loaded = modules_after(
        "from harbench.datasets import tables\nfor name in tables.dataset_names():\n    tables.load_spec(name)"
    )
    assert "harbench" in loaded
    assert not loaded & {"torch", "pandas", "scipy", "cv2", "numpy", "pydantic", "yaml", "rich", "typer"}


def test_no_function_has_more_than_six_parameters() -> None:
    """But for commands, and keyword-only options of the public functions."""
    public = {line.split()[-1] for line in (PACKAGE / "api.pyi").read_text().splitlines() if line.startswith("from ")}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and path.parent.name != "cli":
                given = [each.arg for each in (*node.args.posonlyargs, *node.args.args)]
                named = [] if node.name in public else node.args.kwonlyargs
                assert len([name for name in given if name != "self"]) + len(named) <= 6, f"{path}: {node.name}"
