"""Runs through the Python API: resume after a kill, choosing on val, partial runs, overrides, seeds, splits."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from toys import MANY_SPEC, many_people

from harbench import api
from harbench.errors import CacheError, DatasetError, RecipeError, RunError
from harbench.recipe import Recipe
from harbench.records import RunRecord
from harbench.runs.catalog import read_recipe
from harbench.runs.folder import load_run, load_runs
from harbench.runs.inputs import load_table
from harbench.training import step as step_module


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A prepared data home with six people who move a square left or right, and a recipe."""
    return many_people(tmp_path)


def run(work: Path, *overrides: str, runs: str = "runs", **options: object) -> list[api.RunReport]:
    return api.run([str(work / "many.yaml")], home=work / "home", runs=work / runs, overrides=overrides, **options)


def record(work: Path, runs: str = "runs") -> RunRecord:
    (found,) = (work / runs).rglob("run.json")
    return load_run(found.parent)


def weights(work: Path, runs: str) -> dict[str, np.ndarray]:
    (found,) = (work / runs).rglob("model.safetensors")
    return load_file(found)


def test_interrupted_anywhere_it_ends_with_the_same_bytes(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(work, runs="whole")
    real, left = step_module.seed_step, [1, 2, 2]
    for stop in left:
        steps = iter(range(stop))

        def dying(*arguments: object, steps: object = steps) -> None:
            if next(steps, None) is None:
                raise KeyboardInterrupt
            real(*arguments)

        monkeypatch.setattr(step_module, "seed_step", dying)
        with pytest.raises(KeyboardInterrupt):
            run(work, runs="killed")
        assert not list((work / "killed").rglob("run.json"))
    monkeypatch.setattr(step_module, "seed_step", real)
    run(work, runs="killed")
    whole, killed = weights(work, "whole"), weights(work, "killed")
    assert all(np.array_equal(whole[name], killed[name]) for name in whole)
    for name in (
        "model.safetensors",
        "predictions.npz",
        "views.npz",
        "per_class.csv",
        "train_ids.txt.gz",
        "recipe.yaml",
    ):
        (a,), (b,) = (work / "whole").rglob(name), (work / "killed").rglob(name)
        assert a.read_bytes() == b.read_bytes(), name
    assert record(work, "whole").metrics == record(work, "killed").metrics


def test_a_run_is_the_recipe_that_trained_it_whatever_is_expected_of_it(work: Path) -> None:
    run(work, tag="once")
    recipe = work / "many.yaml"
    recipe.write_text(recipe.read_text() + "expect: [{value: 90, source: a paper}]\n")
    (again,) = run(work, tag="once")
    assert again.state == "already finished"
    with pytest.raises(RunError, match=r"different recipe:\n  train.epochs: "):
        run(work, "train.epochs=9", tag="once")


def test_val_chooses_and_refit_trains_on_everything(work: Path) -> None:
    options = ("data.validation=0.3", "train.selection=val")
    run(work, *options, tag="val")
    chosen = load_run(work / "runs/many/many+val/official/seed0")
    assert (chosen.protocol.selection, chosen.samples["val"] > 0) == ("val", True)
    assert chosen.samples["train"] + chosen.samples["val"] == 8
    run(work, *options, "train.refit=true", tag="refit")
    refit = load_run(work / "runs/many/many+refit/official/seed0")
    assert refit.samples["train"] == 8
    assert (work / "runs/many/many+refit/official/seed0/choose/train.csv").exists()


def test_classes_and_downscaled_media_make_a_run_partial(work: Path) -> None:
    run(work, "data.classes=[left]", tag="one")
    one = load_run(work / "runs/many/many+one/official/seed0")
    assert one.key.label_set == "1 of 2 classes"
    (work / "home/datasets/many.py").write_text(MANY_SPEC.format(short_side=200))
    run(work, tag="small")
    small = load_run(work / "runs/many/many+small/official/seed0")
    assert "downscaled" in small.partial
    board = api.report(("many",), home=work / "home", runs=work / "runs", output=work / "reports").board
    assert all(row.place is None for table in board.tables for row in table.rows)


def test_folds_and_seeds(work: Path) -> None:
    done = run(work, "train.epochs=1", split="lopo-ann,lopo-bea", seeds=2, tag="x")
    assert [(each.split, each.seed) for each in done] == [
        ("lopo-ann", 0),
        ("lopo-ann", 1),
        ("lopo-bea", 0),
        ("lopo-bea", 1),
    ]
    assert {each.state for each in run(work, "train.epochs=1", split="lopo-ann,lopo-bea", seeds=2, tag="x")} == {
        "already finished"
    }
    board = api.report(("many",), home=work / "home", runs=work / "runs", output=work / "reports").board
    reasons = {row.why_not for table in board.tables for row in table.rows}
    assert any("2 of 6" in reason for reason in reasons), reasons
    editions = {record.edition for record in load_runs(work / "runs")[0]}
    assert len(editions) == 1 and all(editions)  # folds are of one data set, whoever is tested


def test_a_model_knows_itself_and_evaluate_checks_it(work: Path) -> None:
    run(work)
    folder = work / "runs/many/many/official/seed0"
    again = api.evaluate(Path("many/many/official/seed0"), home=work / "home", runs=work / "runs", clips=3)
    assert (again.number, again.views) == (2, "3x1")
    assert json.loads((folder / "evaluations/2.json").read_text())["views"] == "3x1"
    table = (work / "home/splits/many/samples.csv").read_text()
    (work / "home/splits/many/samples.csv").write_text(table.replace(",left,", ",zzz,"))
    with pytest.raises(RunError, match="other classes"):
        api.evaluate(folder, home=work / "home", runs=work / "runs")
    with pytest.raises(RunError, match="no finished run"):
        api.evaluate(work, home=work / "home", runs=work / "runs")


def prepared_again(work: Path, *lost: str) -> None:
    """The data home as one who could not get the media of these persons has it."""
    shutil.rmtree(work / "home/many")
    for person in lost:
        for direction in ("left", "right"):
            (work / "videos" / direction / f"{person}.avi").unlink()
    api.prepare("many", home=work / "home", source=work / "videos", short_side=32, workers=1, allow_missing=True)


def test_a_missing_validation_sample_makes_a_run_partial(work: Path) -> None:
    held_out = ("data.validation=0.5", "train.selection=val", "train.refit=true", "train.epochs=1")
    table = load_table(read_recipe(str(work / "many.yaml"), held_out, home=work / "home"), work / "home")
    val = next(sample.group for sample in table.subset("val"))
    prepared_again(work, val)
    run(work, *held_out, ok_missing=2, tag="refit")
    assert load_run(work / "runs/many/many+refit/official/seed0").partial == "2 validation samples missing"


def test_a_run_is_evaluated_where_its_test_media_are(work: Path) -> None:
    run(work)
    folder, where = work / "runs/many/many/official/seed0", {"home": work / "home", "runs": work / "runs"}
    prepared_again(work, "ann", "bea", "cid", "dan")
    assert api.evaluate(folder, clips=3, **where).failed == {}
    with pytest.raises(CacheError, match="8 of 12 media"):
        api.features(folder, **where)
    prepared_again(work, "eve")
    with pytest.raises(CacheError, match=r"2 of 4 media .*\n.*\n.*--ok-missing 2"):
        api.evaluate(folder, clips=3, **where)
    assert len(api.evaluate(folder, clips=3, ok_missing=2, **where).failed) == 2


def test_no_evaluation_takes_the_number_of_another(work: Path) -> None:
    run(work)
    folder = work / "runs/many/many/official/seed0"
    for number in (2, 3, 4):
        assert api.evaluate(folder, home=work / "home", runs=work / "runs").number == number
    (folder / "evaluations/2.json").unlink()
    assert api.evaluate(folder, home=work / "home", runs=work / "runs").number == 5


def test_mistakes_are_told(work: Path) -> None:
    with pytest.raises(DatasetError, match="no class 'sideways'"):
        run(work, "data.classes=[sideways]", tag="a")
    with pytest.raises(RecipeError, match=r"train\.epochs.*\n.*train\.lr"):
        run(work, "train.epochs=-1", "train.lr=3")
    with pytest.raises(RunError, match="no device"):
        run(work, device="gpu9", tag="b")
    with pytest.raises(RecipeError, match="cannot take this recipe's input of 3 x 2 x 32 x 32"):
        run(work, "input.clip.dense.num_frames=2", tag="d")
    vit = "model={name: timm_image, args: {architecture: vit_tiny_patch16_224}}"
    with pytest.raises(RecipeError, match=r"cannot take this recipe's input(.|\n)*Input height"):
        run(work, vit, tag="e")
    (plan,) = run(work, dry_run=True, tag="c")
    assert plan.plan["in the way"].startswith("nothing")
    assert not (work / "runs/many/many+c").exists()


def test_less_training_data_is_whole_groups_and_never_ranked(work: Path) -> None:
    from harbench.runs.inputs import load_table

    recipe = api_recipe(work, "data.train_subset={fraction: 0.5}")
    half = load_table(recipe, work / "home").subset("train")
    assert sorted(sample.target for sample in half) == [0, 0, 1, 1]
    assert len({sample.group for sample in half}) == 2
    one = load_table(api_recipe(work, "data.train_subset={n: 1}"), work / "home").subset("train")
    assert {sample.sample_id for sample in one} < {sample.sample_id for sample in half}
    run(work, "train.epochs=1", "data.train_subset={fraction: 0.5}", tag="half")
    done = record(work)
    assert (done.samples["train"], done.partial) == (4, "trained on 50% of train")


def test_val_is_watched_and_curves_are_drawn(work: Path) -> None:
    run(work, "data.validation=0.3", "train.val_every=2", tag="watched")
    folder = work / "runs/many/many+watched/official/seed0"
    lines = (folder / "train.csv").read_text().splitlines()
    column = lines[0].split(",").index("val_top1")
    assert [line.split(",")[column] != "" for line in lines[1:]] == [False, True, True]
    assert (folder / "curves.png").stat().st_size > 1000
    assert list((folder / "tensorboard").iterdir())


def api_recipe(work: Path, *overrides: str) -> Recipe:
    return read_recipe(str(work / "many.yaml"), overrides, home=work / "home")


def test_weights_of_another_run_are_named_by_its_place_and_needed_once(work: Path) -> None:
    child = work / "child.yaml"
    child.write_text("base: many.yaml\nmodel: {init_from: many/many/official/seed0}\ntrain: {epochs: 0}\n")
    every = {"home": work / "home", "runs": work / "runs"}
    (plan,) = api.run([str(child)], **every, dry_run=True)
    assert f"found no {work}/runs/many/many/official/seed0/model.safetensors" in plan.plan["in the way"]
    run(work)
    (plan,) = api.run([str(child)], **every, dry_run=True)
    assert plan.plan["in the way"] == "nothing: harbench run starts"
    (done,) = api.run([str(child)], **every)
    mother, daughter = (
        load_file(work / f"runs/many/{name}/official/seed0/model.safetensors") for name in ("many", "child")
    )
    assert all(np.array_equal(mother[name], daughter[name]) for name in mother)
    (work / "runs").rename(work / "moved")
    every["runs"] = work / "moved"
    shutil.rmtree(work / "moved/many/many")
    assert api.evaluate(Path("many/child/official/seed0"), **every).metrics == pytest.approx(done.metrics)
    assert api.run([str(child)], **every)[0].state == "already finished"


def write_whole(folder: Path, name: str, content: bytes) -> None:
    """Another file of a finished run, which run.json knows of."""
    (folder / name).write_bytes(content)
    raw = json.loads((folder / "run.json").read_text())
    raw["files"][name] = hashlib.sha256(content).hexdigest()
    (folder / "run.json").write_text(json.dumps(raw | {"record_sha256": ""}))


def test_weights_that_have_seen_the_test_samples_are_never_ranked(work: Path, caplog: pytest.LogCaptureFixture) -> None:
    run(work)
    parent = work / "runs/many/many/official/seed0"
    seen = gzip.decompress((parent / "train_ids.txt.gz").read_bytes()).decode()
    ours = "".join(f"many/{direction}/{person}\n" for direction in ("left", "right") for person in ("eve", "fay"))
    write_whole(parent, "train_ids.txt.gz", gzip.compress((seen + ours).encode()))
    words = f"4 of 4 test samples were in the training data of {parent}"
    with pytest.raises(RunError, match=rf"{words}.*--allow-seen"):
        run(work, f"model.init_from={parent}", "train.epochs=1", tag="child")
    run(work, f"model.init_from={parent}", "train.epochs=1", tag="child", allow_seen=True)
    assert load_run(work / "runs/many/many+child/official/seed0").partial == words
    assert f"{words}: this run will be shown and never ranked" in caplog.text


OWN = "from harbench.models.motion3d import motion3d\n\n\ndef mine(num_classes):\n    return motion3d(num_classes{})\n"


def test_a_model_of_ones_own_is_held_to_what_it_was(work: Path) -> None:
    (work / "net.py").write_text(OWN.format(""))
    mine = f"model={{name: '{work}/net.py:mine', args: {{}}}}"
    run(work, mine, tag="own")
    folder = work / "runs/many/many+own/official/seed0"
    assert (folder / "model.py").read_text() == (work / "net.py").read_text()
    (work / "net.py").write_text(OWN.format(", width=8"))
    for again in (lambda: run(work, mine, tag="own"), lambda: api.evaluate(folder, home=work / "home", runs=work)):
        with pytest.raises(RunError, match=r"net\.py has changed since (.|\n)*--force"):
            again()
    run(work, mine, tag="own", force=True)
    (work / "net.py").write_text(OWN.format(" + 1"))
    with pytest.raises(RecipeError, match=r"expected logits \[1, 2\], found \[1, 3\]"):
        run(work, mine, tag="wider", dry_run=True)


def test_weights_that_do_not_fit_are_in_the_way_beforehand(work: Path) -> None:
    save_file({"fc.weight": np.zeros((2, 3), np.float32)}, work / "w.safetensors")
    (plan,) = run(work, f"model.weights={work}/w.safetensors", tag="w", dry_run=True)
    assert "tensors do not fit" in plan.plan["in the way"]


def test_a_data_set_made_again_does_not_fit_old_runs(work: Path) -> None:
    run(work)
    table = work / "home/splits/many/samples.csv"
    table.write_text(table.read_text().replace("ann,train", "ann,test"))
    with pytest.raises(RunError, match=r"made on another many official: 2 of the 6 test samples(.|\n)*--force"):
        api.evaluate(Path("many/many/official/seed0"), home=work / "home", runs=work / "runs")
    run(work, "train.epochs=1", tag="today")
    (old, new), _ = load_runs(work / "runs")
    assert old.partial == "on other samples than newer runs: many was made again" and not new.partial


def test_evaluation_is_held_to_the_rules_of_recipes(work: Path) -> None:
    run(work)
    with pytest.raises(RecipeError, match=r"eval\.crops: .*\(found 2\)"):
        api.evaluate(Path("many/many/official/seed0"), home=work / "home", runs=work / "runs", crops=2)


def test_a_folder_in_which_nothing_was_trained_is_anybodys(work: Path) -> None:
    with pytest.raises(RecipeError):
        run(work, "input.clip.dense.num_frames=2", tag="t")
    assert run(work, "train.epochs=1", tag="t")[0].state == "finished"
    with pytest.raises(RunError, match="--tag: expected letters, digits"):
        run(work, tag="../elsewhere")
