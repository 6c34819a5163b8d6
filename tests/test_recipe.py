"""The recipe schema: every problem at once, by dotted path; and a contract over every shipped recipe."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from harbench.datasets.tables import expand_splits, load_spec, load_split
from harbench.errors import HarbenchWarning, RecipeError
from harbench.recipe import Fusion, Recipe, TrainConfig, differing_keys, dump_recipe, load_any, load_recipe
from harbench.recipe.load import find_recipe, recipe_paths
from harbench.reporting.published import load_published
from harbench.runs.catalog import read_any, read_recipe
from harbench.runs.comparability import METRICS
from harbench.runs.plan import warn_of_settings
from harbench.runs.record import input_shape

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
        ({"train": {"schedule": {"name": "plateau", "warmup_epochs": 1}}}, "not with name: plateau"),
        ({"train": {"schedule": {"name": "plateau"}}}, "plateau needs data.validation"),
        ({"train": {"schedule": {"watch": "train"}}}, "name: plateau"),
        ({"train": {"early_stopping": 3}}, "early_stopping needs data.validation"),
        ({"train": {"mixup": 0.2, "micro_batch": 1}}, "at least 2"),
        ({"train": {"epochs": 2, "stop_epoch": 3}}, "is after the last of epochs: 2"),
        ({"train": {"optimizer": {"name": "adamw", "nesterov": True}}}, "name: sgd"),
        ({"train": {"optimizer": {"betas": [1.0, 0.9]}}}, "betas"),
        ({"train": {"mixup": 0.2, "batch_size": 1}}, "blend pairs"),
        ({"expect": [{"value": 80, "metric": "top-1", "source": "a paper"}]}, "metric"),
        ({"data": {"dataset": "ucf101", "validation": 0.0}}, "validation"),
        ({"eval": {"crops": 3}, "data": {"dataset": "ucf101", "cache": {"stream": "pose"}}}, "crops: 3 places"),
        ({"train": {"cutmix": 1.0}, "data": {"dataset": "ucf101", "cache": {"stream": "pose"}}}, "cutmix"),
        ({"input": {**GOOD["input"], "with_pose": True}, "train": {"mixup": 0.2}}, "joints cannot be blended"),
        ({"input": {**GOOD["input"], "center": "spine"}}, "are of joints, not of rgb"),
        ({"input": {**GOOD["input"], "features": "joint_motion"}}, "are of joints, not of rgb"),
        ({"input": {**GOOD["input"], "center": "spine", "with_pose": True}}, "with_pose needs center: true"),
        (
            {
                "input": {**GOOD["input"], "with_pose": True},
                "data": {"dataset": "ucf101", "cache": {"stream": "pose"}},
            },
            "joints beside pictures",
        ),
        ({"input": {**GOOD["input"], "augment": {"scale": [1.0, 0.4]}}}, r"scale: expected .*found \[1.0, 0.4\]"),
        ({"input": {**GOOD["input"], "augment": {"erase_area": [0, 0]}}}, "erase_area: expected"),
        ({"data": {"dataset": "ucf101", "train_subset": {}}}, "exactly one of fraction and n"),
    ],
)
def test_parts_that_do_not_go_together(tmp_path: Path, changes: dict, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        load_recipe(write(tmp_path, {**GOOD, **changes}))


def test_what_may_be_one_of_several_types_is_one_mistake(tmp_path: Path) -> None:
    wrong = {**GOOD, "data": {"dataset": "ucf101", "cache": {"short_side": "nativ"}}}
    wrong["input"] = {**GOOD["input"], "center": "spinee", "resize": [128, "x"]}
    with pytest.raises(RecipeError) as error:
        load_recipe(write(tmp_path, wrong), ["input.size=[1]", "input.augment.scale=0.5"])
    assert [line.strip() for line in str(error.value).splitlines()[1:]] == [
        "data.cache.short_side: Input should be a valid integer or 'native' (found 'nativ'); did you mean 'native'?",
        "input.augment.scale: Input should be a valid tuple (found 0.5)",
        "input.center: Input should be a valid boolean or 'spine' or 'box' (found 'spinee'); did you mean 'spine'?",
        "input.resize.1: Input should be a valid integer, unable to parse string as an integer (found 'x')",
        "input.size: Input should be a valid integer (found [1])",
    ]
    told = r"s:\n  data.cache.short_side: .* integer or 'native' \(found \{.*\n.*lr_scale.1 \(the key\): .* string"
    with pytest.raises(RecipeError, match=told):
        load_recipe(write(tmp_path, GOOD), ["data.cache.short_side={a: 1}", "train.optimizer.lr_scale={1: 0.1}"])
    with pytest.raises(RecipeError, match=r"problem:\n  input.resize: Tuple should have at most 2 items"):
        load_recipe(write(tmp_path, GOOD), ["input.resize=[1, 2, 3]"])


def test_what_training_never_reaches() -> None:
    late = {"epochs": 9, "schedule": {"name": "step", "milestones": [11, 12], "warmup_epochs": 10}}
    assert TrainConfig.model_validate(late).never_reached == (
        "schedule.milestones: 11, 12",
        "schedule.warmup_epochs: 10",
    )
    early = {"epochs": 9, "schedule": {"name": "step", "milestones": [8], "warmup_epochs": 7}}
    assert TrainConfig.model_validate(early).never_reached == ()
    assert TrainConfig.model_validate({**early, "stop_epoch": 8}).never_reached == ("schedule.milestones: 8",)
    assert TrainConfig.model_validate({**late, "epochs": 0}).never_reached == ()


@pytest.mark.parametrize(
    ("stream", "idle"),
    [("rgb", {"rotate", "noise"}), ("flow", {"hue", "rotate", "noise"}), ("pose", {"hue", "erase"})],
)
def test_augmentation_of_what_is_not_read_is_without_effect(stream: str, idle: set[str]) -> None:
    augment = {"hue": 0.1, "erase": 0.5, "rotate": 10, "noise": 0.1}
    data = {"dataset": "ucf101", "cache": {"stream": stream}}
    recipe = Recipe.model_validate({**GOOD, "name": "x", "data": data, "input": {**GOOD["input"], "augment": augment}})
    assert {line.split(":")[0].removeprefix("input.augment.") for line in recipe.idle} == idle
    assert all(line.endswith(f"data.cache.stream is {stream}") for line in recipe.idle)


def test_settings_without_effect_are_warnings(tmp_path: Path) -> None:
    with pytest.warns(
        HarbenchWarning, match=r"^without effect: .*milestones: 20, 30, but training ends after epoch 20"
    ):
        warn_of_settings(read_recipe("r2plus1d_18_linear", ("train.epochs=20",), home=tmp_path))


def test_a_key_in_the_wrong_section_is_shown_its_place(tmp_path: Path) -> None:
    wrong = {**GOOD, "lr": 0.1, "train": {"lr": 0.1, "optimiser": {}}, "data": {"dataset": "ucf101", "short_side": 128}}
    wrong["input"] = {**GOOD["input"], "num_frames": 8}
    with pytest.raises(RecipeError) as error:
        load_recipe(write(tmp_path, wrong))
    lines = [line.strip() for line in str(error.value).splitlines()[1:]]
    assert lines == [
        "data.short_side: unknown key; did you mean 'data.cache.short_side'?",
        "input.num_frames: unknown key; did you mean 'input.clip.dense.num_frames' or 'input.clip.whole.num_frames'?",
        "lr: unknown key; did you mean 'train.optimizer.lr'?",
        "train.lr: unknown key; did you mean 'train.optimizer.lr'?",
        "train.optimiser: unknown key; did you mean 'optimizer'?",
    ]


FUSION = {
    "family": "two-stream",
    "data": {"dataset": "ucf101"},
    "fuse": [{"recipe": "resnet18"}, {"recipe": "flow_r18", "weight": 1.5}],
}


def test_a_fusion_names_runs_and_nothing_else(tmp_path: Path) -> None:
    path = write(tmp_path, FUSION)
    fusion = load_any(path, ["level=logits"])
    assert isinstance(fusion, Fusion)
    assert ([each.weight for each in fusion.fuse], fusion.level) == ([1.0, 1.5], "logits")
    assert load_any(write(tmp_path, dump_recipe(fusion), "again.yaml")) == fusion
    with pytest.raises(RecipeError, match="only harbench run takes it"):
        load_recipe(path)
    wrong = {**FUSION, "fuse": [{"recipe": "resnet18", "wieght": 2}], "levl": "logits", "train": {}}
    with pytest.raises(RecipeError) as error:
        load_any(write(tmp_path, wrong, "wrong.yaml"), known={"data.dataset": ["hmdb51"]})
    lines = [line.strip() for line in str(error.value).splitlines()]
    assert lines[0].endswith("5 problems:")
    for start in (
        "data.dataset: there is no 'ucf101'", "fuse.0.wieght: unknown key; did you mean 'weight'?",
        "levl: unknown key; did you mean 'level'?", "train: unknown key",
    ):  # fmt: skip
        assert any(line.startswith(start) for line in lines), (start, lines)
    with pytest.raises(RecipeError, match=r"fuse: .*at least 2"):
        load_any(write(tmp_path, FUSION | {"fuse": [{"recipe": "resnet18"}]}, "alone.yaml"))


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
        ("name: a\ntrain: {epochs: 1}\ntrain: {lr: 1}", "the key 'train' stands twice"),
        ("", "expected a mapping"),
    ):
        with pytest.raises(RecipeError, match=words):
            load_recipe(write(tmp_path, content))
    with pytest.raises(RecipeError, match="cannot read"):
        load_recipe(tmp_path / "absent.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="not valid YAML"):
        load_recipe(tmp_path / "bytes.yaml")
    with pytest.raises(RecipeError, match=r"there is no recipe nonsense\. `harbench recipes` lists"):
        find_recipe("nonsense")
    with pytest.raises(RecipeError, match="recipe mc3_1; did you mean 'mc3_18'"):
        find_recipe("mc3_1")


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
FUSED = [path for path in recipe_paths() if isinstance(load_any(path), Fusion)]
SHIPPED = [path for path in recipe_paths() if path not in FUSED]


@cache
def subsets(dataset: str, split: str) -> set[str]:
    return {sample.subset for sample in load_split(dataset, split).samples}


def test_recipes_were_found() -> None:
    assert {"mc3_18", "r3d_18", "r2plus1d_18", "motion3d_weizmann"} <= {path.stem for path in SHIPPED}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_recipe_holds(path: Path, tmp_path: Path) -> None:
    recipe: Recipe = read_recipe(str(path), home=tmp_path)
    assert recipe.name == path.stem
    assert recipe.description and "\n" not in recipe.description
    assert recipe.idle == ()
    assert recipe.data.dataset == "ucf101" or f"_{recipe.data.dataset}" in path.stem
    for item in recipe.expect:
        assert item.split and item.metric in METRICS and item.margin is not None
    if recipe.data.dataset == "kinetics400":  # the user's own copy
        assert recipe.train.epochs == 0
        return
    spec = load_spec(recipe.data.dataset)
    (split,) = expand_splits(spec, recipe.data.split or spec.splits[0])
    assert {"train", "test"} <= subsets(recipe.data.dataset, split)
    stream = recipe.data.cache.stream
    assert stream == "pose" or spec.modality != "pose"  # flow and poses can be found in pixels, not the other way
    assert len(input_shape(recipe, spec)) == 4


def test_what_recipes_expect_is_published_or_called_harbenchs_own() -> None:
    """The verdict of `check` finds the row that a recipe quotes, with its key and its protocol."""
    unknown = []
    for recipe in (read_recipe(str(path), home=Path("nowhere")) for path in SHIPPED):
        rows = load_published(recipe.data.dataset)
        for item in recipe.expect:
            wanted = (item.value, item.metric, item.split)
            quoted = [
                r for r in rows if (r.value, r.key.metric, r.key.split_set) == wanted and r.source_id in item.source
            ]
            if not quoted and not item.source.startswith("harbench's own measurement"):
                unknown.append(f"{recipe.name}: {wanted}")
    assert not unknown


def test_what_is_held_to_pyskls_numbers_sees_joints_as_pyskl_does() -> None:
    streams = [path for path in SHIPPED if path.stem.startswith("stgcn") and "_ntu60" in path.stem]
    assert len(streams) == 6
    for recipe in (read_recipe(str(path), home=Path("nowhere")) for path in streams):
        clip = recipe.input.clip
        assert (recipe.input.center, clip.frames_per_clip, clip.short) == ("spine", 100, "loop")
        assert clip.segments and clip.segments.distinct


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
    assert "base:" not in dump_recipe(recipe)
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


@pytest.mark.parametrize("path", FUSED, ids=lambda path: path.stem)
def test_a_shipped_fusion_is_of_shipped_recipes_on_its_split(path: Path, tmp_path: Path) -> None:
    fusion = read_any(str(path), home=tmp_path)
    assert isinstance(fusion, Fusion)
    assert fusion.name == path.stem and fusion.description and "\n" not in fusion.description
    for each in fusion.fuse:
        member = read_recipe(each.recipe, home=tmp_path)
        assert (member.data.dataset, member.data.split) == (fusion.data.dataset, fusion.data.split)
