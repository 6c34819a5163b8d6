"""Files of weights as other programs save them: wrapped, with code, damaged, under other names."""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import resource
import shlex
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from damage import damaged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from harbench.errors import HarbenchError, HarbenchWarning, WeightsError
from harbench.models.build import build_model
from harbench.models.weight_files import WRAPPERS, read_tensors
from harbench.models.weights import load_weights
from harbench.recipe import ModelConfig

TENSORS = {"conv.weight": torch.ones(2, 3), "conv.bias": torch.zeros(2)}


def saved(folder: Path, content: object, **options: Any) -> Path:
    torch.save(content, folder / "w.pth", **options)
    return folder / "w.pth"


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrappers_are_found(tmp_path: Path, wrapper: str) -> None:
    assert set(read_tensors(saved(tmp_path, {wrapper: TENSORS, "epoch": 3}))[0]) == set(TENSORS)


def test_wrappers_in_wrappers_and_several_of_them(tmp_path: Path) -> None:
    assert set(read_tensors(saved(tmp_path, {"ema": {"module": TENSORS, "updates": 5}}))[0]) == set(TENSORS)
    path = saved(tmp_path, {"model": TENSORS, "model_ema": {"other": torch.zeros(1)}})
    with pytest.warns(HarbenchWarning, match=r"model is taken, not model_ema(.|\n)*model_ema"):
        assert set(read_tensors(path)[0]) == set(TENSORS)


def test_the_line_that_saves_an_unknown_wrapper_works(tmp_path: Path) -> None:
    path = saved(tmp_path, {"best net": TENSORS, "epoch": 3})
    with pytest.raises(
        WeightsError, match=r"one of state_dict, .*found best net \(a dict of 2\), epoch \(int\)"
    ) as told:
        read_tensors(path)
    command = shlex.split(str(told.value).splitlines()[-1])
    subprocess.run([sys.executable, *command[1:]], cwd=tmp_path, check=True)
    assert set(read_tensors(tmp_path / "weights.pth")[0]) == set(TENSORS)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([TENSORS], "found list"),
        ({}, "found nothing"),
        ({0: torch.zeros(1)}, r"found 0 \(torch.float32 \[1\]\)"),
        (TENSORS | {"epoch": 3}, r"epoch \(int\)"),
        ({"a": torch.zeros(2, dtype=torch.complex64)}, "complex64"),
        ({"a": torch.zeros(2, 2).to_sparse()}, r"found a \(torch.float32 \[2, 2\]\)"),
    ],
)
def test_what_is_no_state_dict_is_told(tmp_path: Path, content: object, told: str) -> None:
    with pytest.raises(WeightsError, match=rf"expected a state dict.*{told}"):
        read_tensors(saved(tmp_path, content))


class Runs:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize("modern", [True, False])
def test_code_is_told_as_such_and_never_run(tmp_path: Path, modern: bool) -> None:
    for content, told in (
        (Runs(os.system, f"touch {tmp_path}/flag"), r"who loads it as a pickle runs posix\.system"),
        (argparse.Namespace(lr=1), r"needs code to be read \(argparse\.Namespace\)(.|\n)*add_safe_globals"),
        (nn.Linear(2, 3), r"torch\.nn\.modules\.linear\.Linear(.|\n)*torch\.save\(model\.state_dict\(\)"),
    ):
        path = saved(tmp_path, {"state_dict": TENSORS, "more": content}, _use_new_zipfile_serialization=modern)
        with pytest.raises(WeightsError, match=told) as error:
            read_tensors(path)
        assert "truncated" not in str(error.value)
    assert not (tmp_path / "flag").exists()


def test_the_line_that_admits_one_class_works(tmp_path: Path) -> None:
    path = saved(tmp_path, {"state_dict": TENSORS, "args": argparse.Namespace(lr=1)})
    with pytest.raises(WeightsError) as told:
        read_tensors(path)
    subprocess.run([sys.executable, *shlex.split(str(told.value).splitlines()[-1])[1:]], cwd=tmp_path, check=True)
    assert set(read_tensors(tmp_path / "weights.pth")[0]) == set(TENSORS)


@pytest.mark.filterwarnings("ignore")
def test_pickles_and_scripts_are_told(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(pickle.dumps({"w": [1, 2]}, 4))
    with pytest.raises(WeightsError, match="a pickle of protocol 4"):
        read_tensors(path)
    torch.jit.script(nn.Linear(2, 3)).save(str(path))
    with pytest.raises(WeightsError, match=r"a TorchScript archive(.|\n)*torch\.jit\.load"):
        read_tensors(path)


# ------------------------------------------------------------------------------------------------------------- names
def small(**config: Any) -> None:
    model = build_model(ModelConfig(name="small_cnn"), 3)
    load_weights(model, ModelConfig(name="small_cnn", **config), ["a", "b", "c"])


def test_the_prefix_that_is_suggested_is_the_files_own_and_fits(tmp_path: Path) -> None:
    state = build_model(ModelConfig(name="small_cnn"), 3).state_dict()
    path = saved(tmp_path, {f"encoder.visual.{key.removeprefix('net.')}": value for key, value in state.items()})
    with pytest.raises(
        WeightsError, match=r"begin so: encoder\.visual\.0.*strip_prefix \(`encoder\.visual\.` makes 26 of 26"
    ):
        small(weights=str(path))
    small(weights=str(path), strip_prefix="encoder.visual.")
    with pytest.raises(WeightsError, match=r"no name of the weights begins with 'net\.'; they are encoder\.visual"):
        small(weights=str(path), strip_prefix="net.")


def test_rows_without_names_are_numbers_of_classes_called_so(tmp_path: Path) -> None:
    """Classes `0` to `11`: row 2 is class `2`; folders sorted as text would differ, which is said."""
    numbers = [str(number) for number in range(12)]
    state = build_model(ModelConfig(name="small_cnn"), 12).state_dict()
    model = build_model(ModelConfig(name="small_cnn"), 12)
    with pytest.warns(HarbenchWarning, match="sorted folders, 10 are exchanged"):
        load_weights(model, ModelConfig(name="small_cnn", weights=str(saved(tmp_path, state))), numbers)
    assert torch.equal(model.state_dict()["net.14.weight"], state["net.14.weight"])


def test_numbers_of_a_list_of_classes_are_its_order(tmp_path: Path) -> None:
    state = build_model(ModelConfig(name="small_cnn"), 3).state_dict()
    (tmp_path / "list.txt").write_text("2 b\n3 c\n1 a\n")
    model = build_model(ModelConfig(name="small_cnn"), 3)
    config = ModelConfig(
        name="small_cnn", weights=str(saved(tmp_path, state)), weights_classes=str(tmp_path / "list.txt")
    )
    assert load_weights(model, config, ["a", "b", "c"]).reordered == ()
    assert torch.equal(model.state_dict()["net.14.weight"], state["net.14.weight"])


@pytest.mark.parametrize("classes", ["5", "[1]", "no", "{}", "[" * 5000])
def test_class_names_in_metadata_that_are_none(tmp_path: Path, classes: str) -> None:
    state = build_model(ModelConfig(name="small_cnn"), 3).state_dict()
    safetensors.torch.save_file(state, tmp_path / "w.safetensors", {"classes": classes})
    with pytest.raises(WeightsError, match="JSON list of names"):
        small(weights=str(tmp_path / "w.safetensors"))


# ------------------------------------------------------------------------------------------------------------ damage
def whole(kind: str) -> bytes:
    state = build_model(ModelConfig(name="small_cnn"), 3).state_dict()
    if kind == "list":
        return b"1 a\n2 b\n3 c\n"
    if kind == "safetensors":
        return safetensors.torch.save(state, {"classes": json.dumps(["a", "b", "c"])})
    content = io.BytesIO()
    torch.save({"state_dict": state}, content, _use_new_zipfile_serialization=kind == "zip")
    return content.getvalue()


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "list"])
@settings(max_examples=30, deadline=30_000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_files_are_read_or_told(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    content = whole(kind)
    places = [*range(2500), *range(len(content) - 6000, len(content))] if len(content) > 9000 else range(len(content))
    path = tmp_path / {"list": "list.txt", "safetensors": "w.safetensors"}.get(kind, "w.pth")
    path.write_bytes(damaged(content, data, places))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if kind == "list":
                weights = saved(tmp_path, build_model(ModelConfig(name="small_cnn"), 3).state_dict())
                small(weights=str(weights), weights_classes=str(path))
            else:
                small(weights=str(path))
        except HarbenchError as error:
            assert str(tmp_path) in str(error) or "model." in str(error)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 19, "half a GB for one small file"
