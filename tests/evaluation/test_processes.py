"""Runs of two processes through the command line: the numbers of one, one voice, one message."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from toys import toy_videos

from harbench import api
from harbench.runs.folder import load_predictions

MODEL = """
from torch import nn

def flat(num_classes):
    hidden = nn.Linear(3 * 16 * 8 * 8, 8)
    return nn.Sequential(nn.AvgPool3d((1, 4, 4)), nn.Flatten(), hidden, nn.Tanh(), nn.Linear(8, num_classes))
"""
RECIPE = """
family: 3d-cnn
data: {dataset: toy, cache: {short_side: 32}}
input: {clip: {dense: {num_frames: 16, stride: 1}}, resize: 32, size: 32, normalize: half}
model: {name: "model.py:flat"}
train: {epochs: 2, batch_size: 3, workers: 0}
eval: {clips: 3, batch_size: 2}
"""


@pytest.fixture
def work(tmp_path: Path, toy_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy data set, prepared, with a model that has no batch statistics, and the folder to be in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    api.prepare("toy", home=toy_home, source=toy_videos(tmp_path / "videos"), short_side=32, workers=1)
    (tmp_path / "toy.yaml").write_text(RECIPE, encoding="utf-8")
    (tmp_path / "model.py").write_text(MODEL, encoding="utf-8")
    return tmp_path


def test_two_processes_give_the_numbers_of_one(work: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (alone,) = api.run(["toy.yaml"], home=Path("home"), runs=Path("one"))
    command = ["--home", "home", "--runs", "two", "run", "toy.yaml", "--json"]
    capfd.readouterr()
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*torchrun, "-m", "harbench", *command], capture_output=True, text=True, check=True)
    out, err = done.stdout, done.stderr
    (together,) = json.loads(out)  # one report: the second process is silent
    assert together["metrics"] == alone.metrics
    assert err.count("training on 4 samples") == 1
    a, b = work / "one/toy/toy/official/seed0", work / "two/toy/toy/official/seed0"
    assert sorted(path.name for path in a.iterdir()) == sorted(path.name for path in b.iterdir())
    assert json.loads((b / "run.json").read_text())["metrics"] == json.loads((a / "run.json").read_text())["metrics"]
    expected, found = load_file(a / "model.safetensors"), load_file(b / "model.safetensors")
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=2e-5, rtol=1e-4)
    np.testing.assert_allclose(load_predictions(b).logits, load_predictions(a).logits, atol=1e-4)

    assert api.launch(2, [*command, "--devices", "2"]) == 0
    (again,) = json.loads(capfd.readouterr().out)
    assert again["state"] == "already finished"


def test_an_error_of_one_process_ends_all(work: Path) -> None:
    """Through the command line, so that its exit code and its last word are those a user gets."""
    text = "import os\nimport math\n" + MODEL.replace("    return", "    rank = os.environ.get('RANK')\n    layers =")
    text += "    if rank == '1':\n        nn.init.constant_(layers[-1].weight, math.nan)\n    return layers\n"
    (work / "model.py").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "harbench", "--home", "home", "run", "toy.yaml", "--devices", "2"]
    stopped = subprocess.run(command, capture_output=True, text=True)
    assert stopped.returncode == 1, stopped.stderr
    assert stopped.stderr.count("the loss is nan") == 1
    assert stopped.stderr.count("harbench: ") == 1 and "Traceback" not in stopped.stderr
    assert not list((work / "runs").rglob("run.json"))
