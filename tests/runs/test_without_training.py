"""Published weights scored on a user's own Kinetics-400 videos: nothing is trained, classes are matched by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from toys import write_video
from typer.testing import CliRunner

from harbench import api
from harbench.cli import app
from harbench.errors import DatasetError
from harbench.models.resnet3d import mc3_18

THEIRS = ("zumba", "abseiling", "air drumming", "yoga")


def test_weights_are_scored_without_training_under_the_names_of_their_classes(tmp_path: Path) -> None:
    rng, rows = np.random.default_rng(0), ["media,label,val"]
    for label in ("abseiling", "air_drumming"):
        for index in range(2):
            write_video(tmp_path / "videos" / label / f"{index}.mp4", rng.integers(0, 256, (18, 32, 48, 3), np.uint8))
            rows.append(f"{label}/{index}.mp4,{label},test")
    (tmp_path / "videos/samples.csv").write_text("\n".join(rows) + "\n")
    torch.manual_seed(0)
    theirs = mc3_18(len(THEIRS)).eval()
    with torch.no_grad():
        theirs.fc.bias.copy_(torch.tensor([90.0, 60.0, 30.0, 0.0]))  # of the two asked for, `abseiling` always wins
    state = {name: tensor.contiguous() for name, tensor in theirs.state_dict().items()}
    save_file(state, tmp_path / "k400.safetensors", {"classes": json.dumps(THEIRS)})

    with pytest.raises(DatasetError, match="harbench prepare DIR --name kinetics400"):
        api.run(["mc3_18_kinetics400"], home=tmp_path / "home", runs=tmp_path / "runs")
    prepared = api.prepare(
        str(tmp_path / "videos"), home=tmp_path / "home", workers=1, own=api.OwnOptions("kinetics400")
    )
    assert prepared.cached == 4
    changed = (
        "train.workers=0",
        f"model.weights={tmp_path / 'k400.safetensors'}",
        "input.size=32",
        "input.resize=32",
        "eval.clips=1",
    )
    words = ["--home", str(tmp_path / "home"), "--runs", str(tmp_path / "runs"), "run", "mc3_18_kinetics400", "--json"]
    words += [word for each in changed for word in ("--set", each)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told[0]["state"], told[0]["metrics"]["top1"], told[0]["partial"]) == ("finished", 50.0, "")
    (record,) = (tmp_path / "runs").rglob("run.json")
    found = json.loads(record.read_text())
    assert found["samples"] == {"train": 0, "val": 0, "test": 4, "scored": 4}
    assert (found["key"]["dataset"], found["key"]["split_set"], found["key"]["label_set"]) == (
        "kinetics400",
        "val",
        "2 classes",
    )
    with np.load(record.with_name("predictions.npz")) as stored:
        assert (stored["probabilities"].argmax(1) == 0).all()
