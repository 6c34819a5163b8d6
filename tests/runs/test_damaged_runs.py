"""What harbench wrote itself, damaged: no traceback, nothing wrong in silence, and one bad run stops no listing."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import safe_open
from toys import many_people

from harbench import api, cli
from harbench.errors import RunError
from harbench.runs.folder import load_run
from harbench.runs.seen import METADATA

RUN, FOLD, OTHER = (f"many/{name}/seed0" for name in ("many+a/official", "many+a/lopo-eve", "many+b/official"))
"""lopo-eve trains on fay, who is in the test subset of official."""
EXPECT = "expect: [{value: 50.0, source: a paper}]\n"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data home and three finished runs."""
    folder = many_people(tmp_path_factory.mktemp("whole"))
    recipe = folder / "many.yaml"
    recipe.write_text(recipe.read_text().replace("epochs: 3", "epochs: 1") + EXPECT)
    every = {"home": folder / "home", "runs": folder / "runs"}
    api.run([str(recipe)], split="official,lopo-eve", tag="a", **every)
    api.run([str(recipe)], tag="b", **every)
    return folder


@pytest.fixture
def work(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(whole, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """The command line as a user has it: exit code, stdout and stderr; whatever else it raises is a traceback."""

    def run(*words: str) -> tuple[int, str, str]:
        options = ["--home", "home", "--runs", "runs"]
        monkeypatch.setattr(sys, "argv", ["harbench", *options, *words])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        code = ended.value.code
        return code if isinstance(code, int) else 0, out, err

    return run


def every(work: Path) -> dict[str, Path]:
    return {"home": work / "home", "runs": work / "runs"}


def rewritten(folder: Path, name: str, content: bytes) -> None:
    """Another file of a finished run, which its record knows of."""
    (folder / name).write_bytes(content)
    raw = json.loads((folder / "run.json").read_text())
    raw["files"][name] = hashlib.sha256(content).hexdigest()
    (folder / "run.json").write_text(json.dumps(raw | {"record_sha256": ""}))


def damage(path: Path, kind: str) -> None:
    content = path.read_bytes()
    path.unlink()
    if kind == "folder":
        path.mkdir()
    else:
        path.write_bytes({"empty": b"", "half": content[: len(content) // 2], "latin-1": b"\xe9\xff" + content}[kind])


READ = ("run.json", "recipe.yaml", "train.csv", "per_class.csv", "predictions.npz", "views.npz")


@pytest.mark.parametrize("kind", ["empty", "latin-1", "folder"])
@pytest.mark.parametrize("name", READ)
def test_one_bad_run_is_a_named_line_and_the_rest_is_shown(work: Path, command: Command, name: str, kind: str) -> None:
    damage(work / "runs" / OTHER / name, kind)
    code, out, _ = command("report")
    assert code == 3 and f"damaged  {OTHER}" in out and name in out, out
    assert "many+a" in out
    for written in ("many.html", "many.md"):
        told = (work / "reports" / written).read_text().replace("\\_", "_").partition("Damaged")[2]
        assert OTHER in told and name in told
    code, out, _ = command("report", "--json")
    assert code == 3 and OTHER in json.loads(out)["board"]["broken"]
    assert command("check", f"runs/{RUN}")[0] == 0  # only what is named counts
    for words in (("compare", RUN, OTHER), ("evaluate", OTHER), ("run", "many.yaml", "--tag", "b")):
        code, out, err = command(*words)
        assert code in (0, 1) and (code == 0 or name in err), (words, out, err)


@pytest.mark.parametrize("name", ["run.json", "recipe.yaml"])
def test_check_goes_on_without_a_bad_run(work: Path, command: Command, name: str) -> None:
    for each in (RUN, OTHER, FOLD):  # variants are only checked when they are named
        folder = work / "runs" / each.replace("+a", "").replace("+b", "_b")
        shutil.copytree(work / "runs" / each, folder)
    damage(work / "runs" / OTHER.replace("+b", "_b") / name, "latin-1")
    code, out, _ = command("check", "--junit", "junit.xml")
    assert code == 3 and "REPRODUCED" in out and f"damaged        {OTHER.replace('+b', '_b')}: " in out, out
    assert "damaged.**" in (work / "reproduction.md").read_text()
    assert 'errors="1"' in (work / "junit.xml").read_text()


def test_compare_and_run_go_on_without_a_bad_run(work: Path, command: Command) -> None:
    damage(work / "runs" / OTHER / "run.json", "half")
    code, out, _ = command("compare", RUN, OTHER, RUN)
    assert code == 3 and f"damaged        {OTHER}" in out and "B - A" in out
    damage(work / "runs" / FOLD / "run.json", "half")
    for more in ((), ("--workers", "1")):
        code, out, _ = command("run", "many.yaml", "--split", "official,lopo-eve", "--tag", "a", *more)
        assert code == 3 and f"{FOLD}: damaged" in out and f"{RUN}: already finished" in out, out
    assert command("run", "many.yaml", "--tag", "b")[0] == 1


def test_a_broken_data_set_is_a_named_line_of_the_report(work: Path, command: Command) -> None:
    (work / "home/splits/many/samples.csv").write_text("")
    code, out, _ = command("report")
    assert code == 3 and "damaged  data set many: " in out and "many+a" in out


def test_flipped_bits_are_named_with_both_hashes(work: Path) -> None:
    for name in ("model.safetensors", "predictions.npz"):
        path = work / "runs" / RUN / name
        good = path.read_bytes()
        bad = bytearray(good)
        bad[-5] ^= 1
        path.write_bytes(bad)
        expected, found = (hashlib.sha256(content).hexdigest() for content in (good, bad))
        for read in (api.evaluate, api.explain, api.features):
            with pytest.raises(RunError, match=rf"{name} is not .*expected SHA-256 {expected}, found {found}"):
                read(Path(RUN), **every(work))
        path.write_bytes(good)


@pytest.mark.parametrize("how", ["copied", "its hash too", "by an older harbench"])
def test_weights_of_another_fold_are_refused(work: Path, how: str) -> None:
    weights = (work / "runs" / FOLD / "model.safetensors").read_bytes()
    folder = work / "runs" / RUN
    words = "is not the file that this run wrote"
    if how == "copied":
        (folder / "model.safetensors").write_bytes(weights)
    elif how == "its hash too":
        rewritten(folder, "model.safetensors", weights)
        words = "2 of the 4 test samples of many official: it is of many lopo-eve"
    else:
        path = work / "runs" / FOLD / "model.safetensors"
        with safe_open(path, framework="pt") as opened:
            metadata = {key: value for key, value in opened.metadata().items() if key != METADATA}
        safetensors.torch.save_file(safetensors.torch.load_file(path), folder / "model.safetensors", metadata)
        raw = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps(raw | {"files": {}, "record_sha256": ""}))
        words = "was trained on other samples: it is of many lopo-eve"
    with pytest.raises(RunError, match=words):
        api.evaluate(Path(RUN), **every(work))
    if how == "its hash too":
        found = api.evaluate(Path(RUN), allow_seen=True, **every(work))
        assert found.partial == "2 of 4 test samples were in the training data of its weights"


def child(work: Path, *overrides: str, tag: str = "child") -> str:
    """Why a run that starts from other weights is not ranked."""
    api.run(
        [str(work / "many.yaml")], overrides=("train.epochs=0", *overrides), tag=tag, allow_seen=True, **every(work)
    )
    return load_run(work / f"runs/many/many+{tag}/official/seed0").partial


@pytest.mark.parametrize("content", [b"", gzip.compress(b"", mtime=0), b"half", b"garbled", b"\xff" * 40, None])
def test_training_samples_that_cannot_be_read_are_unknown_and_never_ranked(work: Path, content: bytes | None) -> None:
    path = work / "runs" / RUN / "train_ids.txt.gz"
    good = path.read_bytes()
    if content is None:
        path.unlink()
    else:
        rewritten(path.parent, path.name, good[: len(good) // 2] if content == b"half" else content)
    start = f"model.init_from={RUN}"
    words = f"the training samples of {work / 'runs' / RUN} are not known"
    assert child(work, start) == words
    board = api.report(("many",), output=work / "reports", **every(work)).board
    assert any(words in row.why_not and row.place is None for table in board.tables for row in table.rows)
    again = child(work, "model.init_from=many/many+child/official/seed0", tag="grandchild")
    assert again.endswith("many+child/official/seed0 are not all known")


@pytest.mark.parametrize("start", ["model.init_from={}", "model.weights={}/model.safetensors"])
def test_weights_know_what_they_have_seen(work: Path, start: str) -> None:
    assert child(work, start.format(work / "runs" / RUN)) == ""
    known = child(work, start.format(work / "runs" / FOLD), tag="seen")
    assert known.startswith("2 of 4 test samples were in the training data of ")
    told = api.evaluate(Path("many/many+seen/official/seed0"), **every(work))  # it says so itself, so it is not refused
    assert told.partial == known
    shutil.copy(work / "runs" / RUN / "train_ids.txt.gz", work / "runs" / FOLD)
    with pytest.raises(RunError, match="expected SHA-256"):
        api.explain(Path(FOLD), **every(work))


def test_a_truncated_cache_is_told_and_can_be_gone_on_with(work: Path, command: Command) -> None:
    (tar,) = (work / "home/many/cache").rglob("frames-0.tar")
    tar.write_bytes(tar.read_bytes()[: tar.stat().st_size * 9 // 10])
    for words in (["evaluate", RUN], ["features", RUN], ["explain", RUN]):
        code, _, err = command(*words)
        assert code == 1 and "media of many official are not in the cache" in err, words
    code, out, _ = command("evaluate", RUN, "--ok-missing", "3", "--json")
    failed = json.loads(out)["failed"]
    assert code == 0 and 0 < len(failed) < 4
    out = command("evaluate", RUN, "--ok-missing", str(len(failed)))[1]
    assert f"{len(failed)} test samples have no score and count as wrong, first {next(iter(failed))}" in out
    number = len(failed)
    assert command("run", "many.yaml", "--tag", "c")[0] == 1
    code, out, _ = command("run", "many.yaml", "--tag", "c", "--ok-missing", str(number), "--json")
    assert (code, json.loads(out)[0]["state"], json.loads(out)[0]["failed"]) == (0, "finished", number)
    code, out, _ = command("run", "many.yaml", "--tag", "c", "--json")
    assert (code, json.loads(out)[0]["state"], json.loads(out)[0]["failed"]) == (3, "already finished", number)


def test_a_state_of_another_shape_or_cut_short_is_told(work: Path, command: Command) -> None:
    folder = work / "runs" / RUN
    (folder / "run.json").unlink()
    state = torch.load(folder / "state.pt", weights_only=True)
    name = next(iter(state["parts"]["model"]))
    state["parts"]["model"][name] = torch.zeros(3, 3)
    torch.save(state, folder / "other.pt")
    torch.save({"plan": state["plan"]}, folder / "less.pt")
    whole = (folder / "state.pt").read_bytes()
    flipped = bytearray(whole)
    flipped[whole.index(state["parts"]["model"].popitem()[1].numpy().tobytes())] ^= 1
    for content in ((folder / "other.pt").read_bytes(), (folder / "less.pt").read_bytes(), whole[:-99], b"", flipped):
        (folder / "state.pt").write_bytes(content)
        code, _, err = command("run", "many.yaml", "--tag", "a")
        assert code == 1 and "state.pt is damaged" in err and "Delete it" in err, err
    (folder / "state.pt").unlink()
    assert command("run", "many.yaml", "--tag", "a")[0] == 0


def test_a_second_training_in_another_thread_is_refused(work: Path) -> None:
    inside, leave = threading.Event(), threading.Event()

    def track(items: object, *_: object) -> object:
        inside.set()
        assert leave.wait(60)
        return items

    first: list[api.run] = []
    options = {**every(work), "tag": "thread"}
    recipe = [str(work / "many.yaml")]
    thread = threading.Thread(target=lambda: first.extend(api.run(recipe, track=track, **options)))  # type: ignore[arg-type]
    thread.start()
    assert inside.wait(60)
    for second in (
        lambda: api.run(recipe, tag="second", **every(work)),
        lambda: api.evaluate(Path(RUN), **every(work)),
    ):
        with pytest.raises(RunError, match="another thread of this process is training"):
            second()
    leave.set()
    thread.join(120)
    assert [each.state for each in first] == ["finished"]
    with pytest.raises(RunError):  # the lock is released on errors too
        api.run(recipe, device="gpu9", tag="no", **every(work))
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.extend(api.run(recipe, tag="second", **every(work))))
    thread.start()
    thread.join(120)
    assert len(found) == 1
