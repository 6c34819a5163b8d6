"""`push`: a run on a stand-in of the hub, and back with the same number."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hub import Hub
from toys import Work

from harbench import api
from harbench.errors import RunError


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    yield server
    server.shutdown()
    server.server_close()


def harbench(work: Work, hub: Hub, cache: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own: the hub's address is read once, at import."""
    environment = {**os.environ, "HF_ENDPOINT": hub.address, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1",
                   "HF_TOKEN": "hf_test", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}  # fmt: skip
    line = [sys.executable, "-m", "harbench", "--quiet", "--home", str(work.home), "--runs", str(work.runs)]
    return subprocess.run([*line, *map(str, words)], capture_output=True, text=True, env=environment, check=False)


def test_pushed_and_back_with_the_same_number(work: Work, hub: Hub, tmp_path: Path) -> None:
    done = harbench(work, hub, tmp_path, "push", work.run, "hf:me/many", "--json")
    assert done.returncode == 0, done.stderr
    assert set(hub.repos["me/many"]) == {"README.md", "config.json", "model.safetensors", "recipe.yaml"}
    assert json.loads(done.stdout)["url"].endswith("/commit/0123456789abcdef0123456789abcdef01234567")
    again = harbench(work, hub, tmp_path, "evaluate", "hf:me/many", "--json")
    assert again.returncode == 0, again.stderr
    record = json.loads((work.run / "run.json").read_text())
    assert json.loads(again.stdout)["metrics"]["top1"] == pytest.approx(record["metrics"]["top1"])
    video = work.videos / "left/eve.avi"
    both = [harbench(work, hub, tmp_path, "predict", video, "--run", run, "--json") for run in ("hf:me/many", work.run)]
    here, there = (json.loads(each.stdout)["predictions"][0]["probabilities"] for each in both)
    assert here == there
    missing = harbench(work, hub, tmp_path, "predict", video, "--run", "hf:me/nothing")
    assert missing.returncode == 1
    assert "hf:me/nothing: model.safetensors is not on this machine and cannot be downloaded" in missing.stderr
    request = harbench(work, hub, tmp_path, "push", work.run, "hf:me/many", "--pr")
    assert "discussions/1" in request.stdout
    assert hub.pulls == [False, True]


def test_a_dry_run_shows_the_folder_and_sends_nothing(work: Work) -> None:
    shown = api.push(work.run, "hf:me/many", home=work.home, runs=work.runs, dry_run=True)
    assert shown.url == ""
    assert set(shown.files) == {"README.md", "config.json", "model.safetensors", "recipe.yaml"}
    _, front, text = shown.card.split("---\n", 2)
    head = yaml.safe_load(front)
    (result,) = head["model-index"][0]["results"]
    record = json.loads((work.run / "run.json").read_text())
    assert result["metrics"][0]["value"] == round(record["metrics"]["top1"], 2)
    assert result["metrics"][0]["args"]["cache"] == record["protocol"]["cache"]
    for words in ('api.Predictor.open("hf:me/many")', "## Limits", "harbench run", "License of the data", "interval"):
        assert words in text
    assert str(work.home.parent) not in shown.card, "no path of this machine"


def test_what_cannot_be_pushed(work: Work, tmp_path: Path) -> None:
    for target in ("me/many", "hf:many", "hf:/many", "hf:me/", "hf:a/b/c"):
        with pytest.raises(RunError, match="expected hf:owner/name"):
            api.push(work.run, target, home=work.home, runs=work.runs)
    with pytest.raises(RunError, match="not a finished run"):
        api.push(tmp_path, "hf:me/many", home=work.home, runs=work.runs, dry_run=True)
