"""Recipes: the shipped ones, reading a file with overrides, every problem at once by dotted path, and what differs in two."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from harbench import paths
from harbench.errors import RecipeError, did_you_mean, nearest_or_all
from harbench.paths import shipped
from harbench.recipe.schema import Fusion, Recipe

_OWN = ("base", "name", "description", "expect")
"""What a recipe says of itself alone and does not take from its base: a variant is not held to its base's number."""

_REASON = re.compile(r", (unable|got) .*")
"""What pydantic says after the type that it expects."""
_LITERAL = re.compile(r"'([^']*)'")
"""A choice, as pydantic writes them."""


def load_recipe(
    path: Path, overrides: Iterable[str] = (), *, known: Mapping[str, Iterable[str]] | None = None
) -> Recipe:
    """Read a recipe, upon the one it names under `base`, and apply `section.key=value` overrides (values are YAML).

    `base: mc3_18.yaml` is a file in the same folder, or a shipped recipe. Of its settings a recipe restates those that
    differ, by the key; `key: null` takes one back to its default. Name, description and expect are never taken over.

    `known` maps `data.dataset` and `model.name` to the names that exist; api hands them in, so that a typo is found here,
    with the nearest right name. Raises RecipeError that lists every problem at once, by dotted path.
    """
    recipe = load_any(path, overrides, known=known)
    if isinstance(recipe, Fusion):
        raise RecipeError(f"{path} fuses finished runs and trains nothing: only harbench run takes it")
    return recipe


def load_any(
    path: Path, overrides: Iterable[str] = (), *, known: Mapping[str, Iterable[str]] | None = None
) -> Recipe | Fusion:
    """As `load_recipe`, also of a recipe that fuses runs: one with the key `fuse`."""
    documents = _with_bases(path)
    for override in overrides:
        _apply(documents[0][1], override)
    raw: dict[str, Any] = {}
    for _, document in reversed(documents):
        raw = _merged({key: value for key, value in raw.items() if key not in _OWN}, document)
    raw.pop("base", None)
    raw.setdefault("name", path.stem)
    problems: list[str] = []
    kind = Fusion if "fuse" in raw else Recipe
    recipe: Recipe | Fusion | None = None
    try:
        recipe = kind.model_validate(raw)
    except ValidationError as error:
        problems += [line + _whence(keys, documents) for keys, line in _explained(error, kind, raw)]
    for dotted, names in (known or {}).items():
        value = _dig(raw, dotted)
        if isinstance(value, str) and ":" not in value and value not in set(names):
            whence = _whence(dotted.split("."), documents)
            problems.append(f"{dotted}: there is no {value!r}{nearest_or_all(value, names)}{whence}")
    if problems or recipe is None:
        listed = "\n".join(f"  {problem}" for problem in sorted(problems))
        raise RecipeError(f"{path} has {len(problems)} problem{'s' if len(problems) != 1 else ''}:\n{listed}")
    return recipe


def load_resolved(path: Path, changes: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe.yaml of a run, with other values in some sections.

    Raises RecipeError with every problem, as of a recipe.
    """
    raw = _merged(_document(path), changes or {})
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        raise RecipeError(
            "\n".join([f"{path}:", *(f"  {line}" for _, line in _explained(error, Recipe, raw))])
        ) from None


def _with_bases(path: Path) -> list[tuple[Path, dict[str, Any]]]:
    """The recipe's document, its base's, and so on; the base of all comes last."""
    documents: list[tuple[Path, dict[str, Any]]] = []
    while True:
        if path.resolve() in (known.resolve() for known, _ in documents):
            chain = " -> ".join(each.name for each in (*(known for known, _ in documents), path))
            raise RecipeError(f"{documents[0][0]}: base: recipes build upon each other in a circle: {chain}")
        document = _document(path)
        documents.append((path, document))
        base = document.get("base")
        if base is None:
            return documents
        if not isinstance(base, str):
            raise RecipeError(f"{path}: base: expected the file of a recipe, such as mc3_18.yaml; found {base!r}")
        beside, known_to_all = path.parent / base, shipped("recipes") / base
        if not beside.is_file() and not known_to_all.is_file():
            names = [each.name for folder in (path.parent, shipped("recipes")) for each in folder.glob("*.yaml")]
            raise RecipeError(
                f"{path}: base: there is no {beside}, nor a shipped {base}{nearest_or_all(base, set(names))}"
            )
        path = beside if beside.is_file() else known_to_all


class _UniqueKeys(yaml.SafeLoader):
    """YAML's safe loader takes the last of two equal keys, and says nothing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping = super().construct_mapping(node, deep)
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice!r} stands twice", node.start_mark)
        return mapping


def _document(path: Path) -> dict[str, Any]:
    """One recipe file as it stands."""
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)
    except OSError as error:
        raise RecipeError(f"cannot read recipe {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise RecipeError(f"{path} is not valid YAML: {_why(error)}") from None
    if not isinstance(raw, dict):
        raise RecipeError(
            f"{path}: expected a mapping with data, input, model, train, eval; found {type(raw).__name__}"
        )
    return raw


def _why(error: Exception) -> object:
    return "nested too deeply" if isinstance(error, RecursionError) else error


def load_document(path: Path) -> dict[str, Any]:
    """A recipe file as it stands, nothing resolved. Raises RecipeError when it cannot be read."""
    return _document(path)


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` upon `base`: sections are merged, everything else is replaced, and null takes a key away."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            merged[key] = _merged(below, value)
        elif value is None and key in base:
            del merged[key]
        else:
            merged[key] = value
    return merged


def _whence(location: Iterable[Any], documents: list[tuple[Path, dict[str, Any]]]) -> str:
    """` (in mc3_18.yaml)` where a problem stands in a base; nothing where the recipe itself has it, or none."""
    parts = list(location)
    path = next((path for path, document in documents if _states(document, parts)), documents[0][0])
    return "" if path == documents[0][0] else f" (in {path.name})"


def _states(document: Mapping[str, Any], location: Iterable[Any]) -> bool:
    """Whether a document has something at `location`; a list is stated as a whole."""
    node: Any = document
    for part in location:
        if not isinstance(node, Mapping):
            return True
        if part not in node:
            return False
        node = node[part]
    return True


def dump_recipe(recipe: Recipe | Fusion) -> str:
    """The resolved recipe as YAML, every default written out."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def differing_keys(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted `key: old -> new` lines of two resolved recipes."""
    lines: list[str] = []
    for key in dict.fromkeys([*old, *new]):
        a, b = old.get(key), new.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            lines += differing_keys(a, b, f"{prefix}{key}.")
        elif a != b:
            lines.append(f"{prefix}{key}: {a!r} -> {b!r}")
    return lines


def _apply(raw: dict[str, Any], override: str) -> None:
    dotted, separator, text = override.partition("=")
    if not separator or not dotted:
        raise RecipeError(f"--set {override!r}: expected section.key=value, for example train.epochs=2")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise RecipeError(f"--set {override[:80]!r}: the value is not valid YAML: {_why(error)}") from None
    node = raw
    *parents, last = dotted.split(".")
    for parent in parents:
        child = node.get(parent)
        if child is None:
            child = node[parent] = {}
        if not isinstance(child, dict):
            raise RecipeError(f"--set {override!r}: {parent} is a value, not a section")
        node = child
    node[last] = value


def _dig(raw: Mapping[str, Any], dotted: str) -> Any:
    node: Any = raw
    for part in dotted.split("."):
        if not isinstance(node, Mapping):
            return None
        node = node.get(part)
    return node


def _explained(error: ValidationError, kind: type[BaseModel], raw: Any) -> Iterator[tuple[tuple[Any, ...], str]]:
    """The place of every mistake, and a line on it; what may be one of several types is one mistake, not one a type."""
    either: dict[tuple[Any, ...], list[Any]] = {}
    for item in error.errors():
        keys, choice = _keys(item, raw)
        if choice is None:
            yield keys, _explain({**item, "loc": keys}, kind)
        else:
            either.setdefault(keys[:choice], []).append({**item, "loc": keys})
    for place, items in either.items():
        inside = [item for item in items if len(item["loc"]) > len(place) or "Input should be" not in item["msg"]]
        if inside:  # of the right type, a list, but not a right one
            yield from ((item["loc"], _explain(item, kind)) for item in inside)
        else:
            yield place, _neither(items)


def _keys(item: Mapping[str, Any], raw: Any) -> tuple[tuple[Any, ...], int | None]:
    """An error's place as keys alone, and after how many of them pydantic names one of several types that it tried."""
    keys: list[Any] = []
    choice = None
    for part in item["loc"]:
        if isinstance(raw, Mapping) and (part in raw or item["type"] == "missing"):
            raw = raw.get(part)
            keys.append(part)
        elif isinstance(raw, list) and isinstance(part, int):
            raw = raw[part] if part < len(raw) else None
            keys.append(part)
        elif part == "[key]":  # pydantic's word for what is wrong with the key itself
            keys[-1] = f"{keys[-1]} (the key)"
        else:
            choice = len(keys)
    return tuple(keys), choice


def _neither(items: Sequence[Mapping[str, Any]]) -> str:
    """A value that is of none of the types it may have."""
    expected = [_REASON.sub("", str(item["msg"]).removeprefix("Input should be ")) for item in items]
    found = items[0]["input"]
    words = [word for item in items for word in _LITERAL.findall(str(item.get("ctx", {}).get("expected", "")))]
    path = ".".join(map(str, items[0]["loc"]))
    near = did_you_mean(found, words) if isinstance(found, str) else ""
    return f"{path}: Input should be {' or '.join(dict.fromkeys(expected))} (found {found!r}){near}"


def _explain(item: Mapping[str, Any], kind: type[BaseModel]) -> str:
    path = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"{path}: unknown key{_meant(item['loc'], kind)}"
    if item["type"] == "missing":
        return f"{path}: missing"
    if item["type"] == "literal_error" and isinstance(item.get("input"), str):
        choices = _LITERAL.findall(item["ctx"]["expected"])
        return f"{path}: there is no {item['input']!r}{nearest_or_all(item['input'], choices)}"
    message = str(item["msg"]).removeprefix("Value error, ")
    found = "" if isinstance(item.get("input"), (dict, BaseModel)) else f" (found {item.get('input')!r})"
    return f"{path or 'recipe'}: {message}{found}"


def _meant(location: Iterable[Any], kind: type[BaseModel]) -> str:
    """What an unknown key may have been meant for: the same key deeper in its section, else the nearest beside it."""
    *section, key = location
    model: type[BaseModel] = kind
    for part in section:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        model = (field and _section(field.annotation)) or model
    deeper = [path for path in _paths(model) if path.endswith(f".{key}")]
    if deeper:
        return f"; did you mean {' or '.join(repr('.'.join([*map(str, section), path])) for path in deeper)}?"
    return nearest_or_all(str(key), model.model_fields)


def _paths(model: type[BaseModel]) -> Iterator[str]:
    """Every legal key of a section and of the sections in it, dotted."""
    for name, field in model.model_fields.items():
        yield name
        inner = _section(field.annotation)
        yield from (f"{name}.{path}" for path in _paths(inner)) if inner else ()


def _section(annotation: Any) -> type[BaseModel] | None:
    """The section that a key holds: itself, or where it is optional or a list."""
    candidates = [annotation, *getattr(annotation, "__args__", ())]
    return next((each for each in candidates if isinstance(each, type) and issubclass(each, BaseModel)), None)


def recipe_paths() -> list[Path]:
    """Every recipe that travels with harbench."""
    return sorted(paths.shipped("recipes").glob("*.yaml"))


def find_recipe(name: str) -> Path:
    """A recipe by path, or a shipped one by file or name (`recipes/mc3_18.yaml`, `mc3_18.yaml`, `mc3_18`)."""
    path = Path(name)
    if path.is_file():
        return path
    shipped = paths.shipped("recipes") / f"{path.name.removesuffix('.yaml')}.yaml"
    if path.parent.name in ("", "recipes") and shipped.is_file():
        return shipped
    near = did_you_mean(path.stem, [each.stem for each in recipe_paths()])
    raise RecipeError(f"there is no recipe {name}{near or '.'} `harbench recipes` lists those that are shipped.")
