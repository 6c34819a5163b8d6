"""The recipe schema: every problem at once, by dotted path; and a contract over every shipped recipe."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from harbench.api.catalog import find_recipe, read_recipe, recipe_paths
from harbench.api.facts import input_shape
from harbench.datasets.tables import expand_splits, load_spec, load_split
from harbench.errors import RecipeError
from harbench.recipe import Recipe, differing_keys, dump_recipe, load_recipe

GOOD = {
    "family": "3d-cnn",
    "data": {"dataset": "ucf101"},
    "input": {"clip": {"dense": {"num_frames": 16, "stride": 2}}},
    "model": {"name": "mc3_18"},
}
KNOWN = {"data.dataset": ["ucf101", "hmdb51"], "model.name": ["mc3_18", "r3d_18"]}


def write(folder: Path, content: object, name: str = "good.yaml") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return path


def test_ten_mistakes_get_ten_lines(tmp_path: Path) -> None:
    bad = {
        "family": "4d-cnn",
        "data": {"dataset": "ucf10", "splt": "1", "cache": {"quality": 200}},
        "input": {"clip": {"dense": {"num_frames": 16}}, "sise": 112},
        "model": {"name": "mc3"},
        "train": {"epoch": 3, "optimizer": {"lr": -1}, "batch_size": "many"},
    }
    with pytest.raises(RecipeError) as error:
        load_recipe(write(tmp_path, bad), known=KNOWN)
    lines = str(error.value).splitlines()
    assert lines[0].endswith("10 problems:")
    for start in (
        "data.cache.quality:", "data.dataset: there is no 'ucf10'; did you mean 'ucf101'?",
        "data.splt: unknown key; did you mean 'split'?", "family:",
        "input.clip.dense: give exactly one of stride and fps", "input.sise: unknown key; did you mean 'size'?",
        "model.name: there is no 'mc3'; did you mean 'mc3_18'?", "train.batch_size:",
        "train.epoch: unknown key; did you mean 'epochs'?", "train.optimizer.lr:",
    ):  # fmt: skip
        assert any(line.strip().startswith(start) for line in lines), start


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"input": {"clip": {}}}, "exactly one of dense, segments, whole, uniform"),
        ({"input": {"clip": {"uniform": {"n": 3}}}, "eval": {"clips": 2}}, "uniform"),
        ({"input": {"clip": {"whole": {"num_frames": 8}}}, "eval": {"clips": 2}}, "whole"),
        ({"input": {**GOOD["input"], "size": 112, "resize": 100}}, "resize"),
        ({"train": {"selection": "val"}}, "data.validation"),
        ({"train": {"refit": True}}, "selection: val"),
        ({"eval": {"crops": 2}}, "eval.crops"),
        ({"train": {"schedule": {"name": "step"}}}, "milestones"),
        ({"train": {"schedule": {"name": "one_cycle", "warmup_epochs": 1}}}, "use rise"),
        ({"train": {"schedule": {"name": "plateau"}}}, "plateau needs data.validation"),
        ({"train": {"early_stopping": 3}}, "early_stopping needs data.validation"),
        ({"train": {"mixup": 0.2, "micro_batch": 1}}, "at least 2"),
        ({"train": {"unfreeze_epoch": 2}}, "nothing is frozen"),
        ({"train": {"optimizer": {"name": "adamw", "nesterov": True}}}, "name: sgd"),
        ({"train": {"cutmix": 1.0}, "data": {"dataset": "ucf101", "cache": {"stream": "pose"}}}, "cutmix"),
        ({"input": {**GOOD["input"], "with_pose": True}, "train": {"mixup": 0.2}}, "joints cannot be blended"),
        (
            {
                "input": {**GOOD["input"], "with_pose": True},
                "data": {"dataset": "ucf101", "cache": {"stream": "pose"}},
            },
            "joints beside pictures",
        ),
        ({"data": {"dataset": "ucf101", "train_subset": {}}}, "exactly one of fraction and n"),
    ],
)
def test_parts_that_do_not_go_together(tmp_path: Path, changes: dict, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        load_recipe(write(tmp_path, {**GOOD, **changes}))


def test_overrides_are_yaml_by_dotted_path(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    recipe = load_recipe(
        path, ["train.epochs=2", "model.args.dropout=0.5", "input.resize=[128, 171]", "train.clip_grad=null"]
    )
    assert (recipe.name, recipe.train.epochs, recipe.model.args) == ("good", 2, {"dropout": 0.5})
    assert recipe.input.resize == (128, 171)
    for bad, words in (("train.epochs", "section.key=value"), ("family.x=1", "not a section"), ("a=[", "valid YAML")):
        with pytest.raises(RecipeError, match=words):
            load_recipe(path, [bad])


def test_what_is_no_recipe(tmp_path: Path) -> None:
    for content, words in (
        ("- a\n- b\n", "expected a mapping"),
        ("a: [", "not valid YAML"),
        ("", "expected a mapping"),
    ):
        with pytest.raises(RecipeError, match=words):
            load_recipe(write(tmp_path, content))
    with pytest.raises(RecipeError, match="cannot read"):
        load_recipe(tmp_path / "absent.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="not valid YAML"):
        load_recipe(tmp_path / "bytes.yaml")
    with pytest.raises(RecipeError, match="Shipped recipes"):
        find_recipe("nonsense")


def test_a_dumped_recipe_is_the_same_recipe(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, GOOD))
    again = load_recipe(write(tmp_path, dump_recipe(recipe), "again.yaml"))
    assert again == recipe
    changed = load_recipe(write(tmp_path, GOOD), ["train.epochs=7"])
    assert differing_keys(recipe.model_dump(), changed.model_dump()) == ["train.epochs: 25 -> 7"]


@given(st.text(max_size=200))
def test_any_text_is_a_recipe_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "any.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(RecipeError):
        load_recipe(path)


# ------------------------------------------------------------------------------------------- every shipped recipe
SHIPPED = recipe_paths()


def test_recipes_were_found() -> None:
    assert {"mc3_18", "r3d_18", "r2plus1d_18", "motion3d_weizmann"} <= {path.stem for path in SHIPPED}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_recipe_holds(path: Path, tmp_path: Path) -> None:
    recipe: Recipe = read_recipe(str(path), home=tmp_path)
    assert recipe.name == path.stem
    assert recipe.description and "\n" not in recipe.description
    spec = load_spec(recipe.data.dataset)
    assert recipe.data.dataset == "ucf101" or f"_{recipe.data.dataset}" in path.stem
    (split,) = expand_splits(spec, recipe.data.split or spec.splits[0])
    table = load_split(recipe.data.dataset, split)
    assert table.subset("train") and table.subset("test")
    stream = recipe.data.cache.stream
    assert ("rgb" if stream == "flow" else stream) in spec.streams  # flow is computed from rgb
    assert len(input_shape(recipe, spec)) == 4


# ---------------------------------------------------------------------------------------------- recipes upon recipes
def test_a_recipe_upon_another_states_what_differs(tmp_path: Path) -> None:
    write(tmp_path, {**GOOD, "name": "low", "description": "d", "expect": [{"value": 1, "source": "s"}]}, "low.yaml")
    segments = {"dense": None, "segments": {"n": 8}}
    write(tmp_path, {"base": "low.yaml", "train": {"epochs": 7}, "input": {"clip": segments}}, "middle.yaml")
    path = write(tmp_path, {"base": "middle.yaml", "train": {"batch_size": 4}}, "top.yaml")
    recipe = load_recipe(path, ["train.epochs=9"], known=KNOWN)
    assert (recipe.name, recipe.description, recipe.expect) == ("top", "", ())
    assert (recipe.train.epochs, recipe.train.batch_size, recipe.model.name) == (9, 4, "mc3_18")
    assert recipe.input.clip.dense is None and recipe.input.clip.segments is not None
    assert "base" not in dump_recipe(recipe)
    shipped = load_recipe(write(tmp_path, {"base": "mc3_18.yaml", "model": {"weights": None}}, "mine.yaml"))
    assert (shipped.model.name, shipped.model.weights, shipped.expect) == ("mc3_18", None, ())


def test_a_problem_says_in_which_of_the_recipes_it_stands(tmp_path: Path) -> None:
    low = {**GOOD, "model": {"name": "mc3"}, "train": {"epoch": 3, "batch_size": -1}}
    write(tmp_path, low, "low.yaml")
    path = write(tmp_path, {"base": "low.yaml", "train": {"epochs": -1, "batch_size": 0}, "sed": 1}, "top.yaml")
    with pytest.raises(RecipeError) as error:
        load_recipe(path, ["eval.clips=0"], known=KNOWN)
    lines = [line.strip() for line in str(error.value).splitlines()]
    assert lines[0] == f"{path} has 6 problems:"
    told = {line.split(":")[0]: line for line in lines[1:]}
    assert {key for key, line in told.items() if line.endswith("(in low.yaml)")} == {"model.name", "train.epoch"}
    assert {"train.epochs", "train.batch_size", "sed", "eval.clips"} <= told.keys()


@pytest.mark.parametrize(
    "base, words",
    [
        ("absent.yaml", "base: there is no .*absent.yaml"),
        ("mc3_81.yaml", "did you mean 'mc3_18.yaml'"),
        ("top.yaml", "circle: top.yaml -> top.yaml"),
        (3, "base: expected the file of a recipe"),
    ],
)
def test_a_base_that_is_none(tmp_path: Path, base: object, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        load_recipe(write(tmp_path, {"base": base}, "top.yaml"))
