from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors
import torch
from torch import nn

from harbench.errors import WeightsError
from harbench.training.checkpoint import INEXACT, load_model_weights, note_deviation, save_model

METADATA = {"classes": json.dumps(["jump", "Läufer", "A001"]), "zebra": "1", "input": "{}", "alpha": "ü"}


@pytest.fixture
def model() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv3d(3, 4, 2), nn.BatchNorm3d(4), nn.Linear(4, 3))
        return net.to(memory_format=torch.channels_last_3d)


def test_weights_and_metadata_come_back(tmp_path: Path, model: nn.Module) -> None:
    path = tmp_path / "model.safetensors"
    save_model(path, model, METADATA)
    state, metadata = load_model_weights(path, ["jump", "Läufer", "A001"])
    assert metadata == METADATA
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    model.load_state_dict(state)


def test_the_library_reads_the_file_and_bytes_repeat(tmp_path: Path, model: nn.Module) -> None:
    paths = [tmp_path / f"{i}.safetensors" for i in range(8)]
    for path in paths:
        save_model(path, model, METADATA)
    assert len({path.read_bytes() for path in paths}) == 1
    with safetensors.safe_open(paths[0], framework="np") as opened:
        assert opened.metadata() == METADATA
        assert (opened.get_tensor("2.weight") == model[2].weight.detach().numpy()).all()


def test_shared_weights_are_written_twice(tmp_path: Path) -> None:
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    save_model(tmp_path / "tied.safetensors", tied, {})
    state, _ = load_model_weights(tmp_path / "tied.safetensors")
    assert torch.equal(state["0.weight"], state["1.weight"])


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (["Läufer", "jump", "A001"], "class 0 is 'jump' there, 'Läufer' here"),
        (["jump", "Läufer", "A002"], "class 2 is 'A001' there, 'A002' here"),
        (["jump", "Läufer"], "one list ends early"),
    ],
)
def test_other_classes_or_another_order_is_an_error(
    tmp_path: Path, model: nn.Module, classes: list[str], words: str
) -> None:
    save_model(tmp_path / "model.safetensors", model, METADATA)
    with pytest.raises(WeightsError, match=words):
        load_model_weights(tmp_path / "model.safetensors", classes)


def test_a_missing_or_truncated_file_is_told(tmp_path: Path, model: nn.Module) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(WeightsError, match="there is no"):
        load_model_weights(path)
    save_model(path, model, METADATA)
    whole = path.read_bytes()
    for keep in (0, 5, 100, len(whole) - 1):
        path.write_bytes(whole[:keep])
        with pytest.raises(WeightsError, match="truncated"):
            load_model_weights(path)


def test_deviations_are_noted_once(tmp_path: Path) -> None:
    for words in ("a", "b", "a"):
        note_deviation(tmp_path, words)
    assert (tmp_path / INEXACT).read_text() == "a\nb\n"
