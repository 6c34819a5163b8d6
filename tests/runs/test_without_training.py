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
from harbench.datasets.tables import listed_classes, load_spec
from harbench.errors import DatasetError
from harbench.models.resnet3d import mc3_18


def test_weights_are_scored_without_training_under_the_names_of_their_classes(tmp_path: Path) -> None:
    rng, rows = np.random.default_rng(0), ["label,youtube_id,time_start,time_end,split"]
    for label in ("abseiling", "air drumming"):
        for index in range(2):
            name = f"{label[:3]}{index}_000001_000011.mp4"
            write_video(tmp_path / "videos" / label / name, rng.integers(0, 256, (18, 32, 48, 3), np.uint8))
            rows.append(f"{label},{label[:3]}{index},1,11,validate")
    (tmp_path / "videos/val.csv").write_text("\n".join(rows) + "\n")
    theirs = ("zumba", "abseiling", *(each.display for each in listed_classes(load_spec("kinetics400"))))
    theirs = tuple(dict.fromkeys(theirs))
    torch.manual_seed(0)
    model = mc3_18(len(theirs)).eval()
    with torch.no_grad():
        model.fc.bias[theirs.index("abseiling")] = 90.0  # always wins, at whatever place of theirs it stands
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, tmp_path / "k400.safetensors", {"classes": json.dumps(theirs)})

    with pytest.raises(DatasetError, match="harbench prepare kinetics400 --from DIR"):
        api.run(["mc3_18_kinetics400"], home=tmp_path / "home", runs=tmp_path / "runs")
    prepared = api.prepare("kinetics400", home=tmp_path / "home", source=tmp_path / "videos", workers=1)
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
        "400 classes",
    )
    with np.load(record.with_name("predictions.npz")) as stored:
        assert (stored["probabilities"].argmax(1) == 0).all()
