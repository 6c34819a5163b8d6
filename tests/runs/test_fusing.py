"""`run` of a recipe that fuses finished runs: what it writes, what it refuses, what it says of itself."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from toys import many_people

from harbench import api
from harbench.errors import RecipeError, RunError
from harbench.files import sha256
from harbench.records import Predictions
from harbench.runs.folder import load_predictions, load_run

FUSION = {
    "family": "two-stream",
    "data": {"dataset": "many"},
    "fuse": [{"recipe": "many"}, {"recipe": "many+wide", "weight": 1.5}],
    "level": "logits",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two finished runs, `many` and `many+wide`."""
    work = many_people(tmp_path_factory.mktemp("fusing"))
    quick = ("train.epochs=1", "eval.clips=1")
    run(work, "many.yaml", *quick, tag="wide")
    run(work, "many.yaml")
    return work


@pytest.fixture
def work(finished: Path, tmp_path: Path) -> Path:
    """The same runs in a folder of one's own, beside a fusion of them."""
    import shutil

    shutil.copytree(finished / "runs", tmp_path / "runs")
    (tmp_path / "home").symlink_to(finished / "home")
    (tmp_path / "many.yaml").symlink_to(finished / "many.yaml")
    write(tmp_path, FUSION)
    return tmp_path


def write(work: Path, fusion: dict[str, object]) -> None:
    (work / "both.yaml").write_text(yaml.safe_dump(fusion))


def run(work: Path, recipe: str = "both.yaml", *overrides: str, **options: object) -> api.RunReport:
    (report,) = api.run([str(work / recipe)], home=work / "home", runs=work / "runs", overrides=overrides, **options)
    return report


def folder(work: Path, name: str) -> Path:
    return work / "runs/many" / name / "official/seed0"


def changed(work: Path, name: str, **changes: object) -> None:
    """Edit the record of a run."""
    path = folder(work, name) / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"record_sha256": "", **changes}))


def test_a_fusion_is_a_run_of_its_own(work: Path) -> None:
    report = run(work)
    assert (report.state, report.failed) == ("finished", 0)
    one, two, both = (load_predictions(folder(work, name)) for name in ("many", "many+wide", "both"))
    np.testing.assert_allclose(both.logits, (one.logits + 1.5 * two.logits) / 2.5, rtol=1e-4)
    assert both.ids == one.ids
    first, second, record = (load_run(folder(work, name)) for name in ("many", "many+wide", "both"))
    assert dict(record.members) == {"many/many/official/seed0": 1.0, "many/many+wide/official/seed0": 1.5}
    assert record.params_m == pytest.approx(2 * first.params_m)
    assert record.gflops == pytest.approx(2 * first.gflops)
    assert record.key == first.key and second.key.level == "clip"  # one of them sees all of the video
    assert record.protocol.views == "2x1 and 1x1"
    assert record.metrics == report.metrics
    files = {path.name for path in folder(work, "both").iterdir()}
    assert files >= {"recipe.yaml", "environment.json", "predictions.npz", "per_class.csv", "run.json", "log.txt"}
    ids = [gzip.decompress((folder(work, name) / "train_ids.txt.gz").read_bytes()) for name in ("many", "both")]
    assert ids[0] == ids[1]
    assert run(work).state == "already finished"
    board = api.report(("many",), home=work / "home", runs=work / "runs", output=work / "reports").board
    assert "both" in {row.name for table in board.tables for row in table.rows}


def test_the_worst_of_its_runs_is_what_it_is(work: Path) -> None:
    protocol = json.loads((folder(work, "many") / "run.json").read_text())["protocol"]
    changed(work, "many", protocol=protocol | {"selection": "test"}, partial="16 of 20", exact=False)
    run(work)
    record = load_run(folder(work, "both"))
    assert (record.protocol.selection, record.partial, record.exact) == ("test", "16 of 20", False)
    board = api.report(("many",), home=work / "home", runs=work / "runs", output=work / "reports").board
    assert all(row.place is None for table in board.tables for row in table.rows if row.name == "both")


def test_what_is_not_finished_is_told_with_its_commands(work: Path) -> None:
    (folder(work, "many+wide") / "run.json").unlink()
    with pytest.raises(RunError, match=r"1 of 2 are not. Run first\n  harbench run FILE --split official --tag wide  "):
        run(work)
    with pytest.raises(RunError, match=r"2 of 2.*\n  harbench run FILE --split official --seed 3"):
        run(work, seed=3)
    plan = run(work, dry_run=True).plan
    assert "harbench run FILE --split official --tag wide" in str(plan["in the way"])
    assert not (folder(work, "both") / "run.json").exists()
    write(work, FUSION | {"fuse": [{"recipe": "mc3_81"}, {"recipe": "many/none/official/seed0"}]})
    with pytest.raises(RunError, match=r"did you mean 'mc3_18'\?\)\n  the run of .*many/none/official/seed0"):
        run(work)


def test_a_run_is_also_meant_by_its_folder(work: Path) -> None:
    write(work, FUSION | {"fuse": [{"recipe": "many/many/official/seed0"}, {"recipe": str(folder(work, "many+wide"))}]})
    run(work)
    assert set(load_run(folder(work, "both")).members) == {"many/many/official/seed0", "many/many+wide/official/seed0"}
    write(work, FUSION | {"fuse": [{"recipe": "many/many/official/seed0"}, {"recipe": "many"}]})
    with pytest.raises(RunError, match="names a run twice"):
        run(work, tag="twice")


@pytest.mark.parametrize("what", ["ids", "order", "classes", "split"])
def test_what_does_not_go_together_is_refused(work: Path, what: str) -> None:
    words = {
        "ids": "samples: 4 against 4; in one alone ",
        "order": "samples: the same 4, in another order",
        "classes": "classes: 2 against 2; in one alone left, up",
        "split": "split: official against lopo-ann",
    }
    scores = load_predictions(folder(work, "many+wide"))
    if what == "split":
        changed(work, "many+wide", split="lopo-ann")
    elif what == "classes":
        rewrite(work, scores, classes=["up", "right"])
    else:
        ids = scores.ids[::-1] if what == "order" else ("other", *scores.ids[1:])
        rewrite(work, replace(scores, ids=ids))
    with pytest.raises(RunError, match=re.escape(words[what])):
        run(work)


def rewrite(work: Path, scores: Predictions, classes: list[str] | None = None, name: str = "many+wide") -> None:
    path = folder(work, name) / "predictions.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["ids"] = np.array(scores.ids)
    arrays["classes"] = np.array(classes) if classes else arrays["classes"]
    np.savez(path, **arrays)
    changed(work, name, files=load_run(path.parent).files | {path.name: sha256(path)})


def test_a_repeated_run_makes_a_fusion_old(work: Path) -> None:
    run(work)
    changed(work, "many", finished="2999-01-01T00:00:00+00:00")
    with pytest.raises(RunError, match="was repeated after many/both/official/seed0 was fused; --force"):
        run(work)
    changed(work, "many", finished="2001-01-01T00:00:00+00:00")
    assert run(work, force=True).state == "finished"


def test_a_table_that_changed_since_is_told(work: Path) -> None:
    for name in ("many", "many+wide"):
        rewrite(work, load_predictions(folder(work, name)), classes=["up", "right"], name=name)
    with pytest.raises(RunError, match="does not have now: up"):
        run(work)


def test_nothing_else_takes_it(work: Path) -> None:
    run(work)
    with pytest.raises(RunError, match="has no weights; take one of many/many/official/seed0"):
        api.evaluate(folder(work, "both"), home=work / "home", runs=work / "runs")
    with pytest.raises(RecipeError, match="only harbench run takes it"):
        api.grid(str(work / "both.yaml"), ["level=logits,probabilities"], home=work / "home", runs=work / "runs")
    with pytest.raises(RunError, match="different recipe:\n  level: 'logits' -> 'probabilities'"):
        write(work, FUSION | {"level": "probabilities"})
        run(work)
