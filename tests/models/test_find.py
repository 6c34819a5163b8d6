from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_models import tiny
from torch import nn

from harbench.errors import RecipeError
from harbench.models.build import build_model
from harbench.models.find import find_model, model_names
from harbench.models.profile import count_flops, count_parameters
from harbench.recipe import ModelConfig

OWN = """
from torch import nn

def toy(num_classes, width: int = 4, *, wide=False):
    return nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(3, num_classes))

def odd(num_classes):
    return "not a module"
"""


def built(name: str, classes: int = 5, **args: object) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_model(ModelConfig(name=name, args=args), classes)


def test_names_are_found_without_torch() -> None:
    script = "from harbench.models.find import model_names; print(*model_names())"
    script += "; import sys; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == model_names()
    assert {"r3d_18", "mc3_18", "r2plus1d_18", "resnet18", "cnn_lstm", "small_cnn", "motion3d"} <= set(model_names())


@pytest.mark.parametrize("name", model_names())
def test_every_model_runs_forward_and_backward_and_is_counted(name: str) -> None:
    args, shape = tiny(name)
    model = built(name, **args)
    assert find_model(name).__doc__, "the docstring names the paper"
    logits = model.train()(torch.randn(2, *shape))
    assert logits.shape == (2, 5)
    logits.sum().backward()
    unused = [key for key, parameter in model.named_parameters() if parameter.grad is None]
    assert not unused
    model.eval()
    first, again = model(torch.ones(1, *shape)), model(torch.ones(1, *shape))
    assert torch.equal(first, again)
    assert count_parameters(model) == sum(p.numel() for p in model.parameters())
    assert count_flops(model, shape) > 0


def test_a_file_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    assert built(f"{tmp_path}/mine.py:toy", width=2)(torch.zeros(1, 3, 2, 4, 4)).shape == (1, 5)
    monkeypatch.chdir(tmp_path)
    assert built("mine.py:toy")(torch.zeros(1, 3, 2, 4, 4)).shape == (1, 5)
    monkeypatch.syspath_prepend(tmp_path)
    assert built("mine:toy")(torch.zeros(1, 3, 2, 4, 4)).shape == (1, 5)
    assert built("harbench.models.image:small_cnn", classes=7)(torch.zeros(2, 3, 1, 16, 16)).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "args", "words"),
    [
        ("r3d_1", {}, "there is no 'r3d_1' (a model of your own is `file.py:function`); did you mean 'r3d_18'"),
        ("xyz", {}, "there are block_cnn, c3d, "),
        ("r3d_18", {"drop": 0.5, "depth": 3}, "model.args.drop: unknown; did you mean 'dropout'"),
        ("r3d_18", {"drop": 0.5, "depth": 3}, "model.args.depth: unknown; did you mean"),
        ("r3d_18", {"depth": 3}, "\nmodel r3d_18 takes dropout=0.0"),
        ("r3d_18", {"dropout": 2}, "dropout must be in [0, 1), found 2"),
        ("small_cnn", {"width": -1}, "model small_cnn cannot be built with args {{'width': -1}}"),
        ("timm_image", {}, "model.args.architecture: missing"),
        ("timm_image", {"architecture": "resnet18x"}, "timm has no architecture 'resnet18x'; near it: resnet18, "),
        ("nowhere:toy", {}, "module 'nowhere' cannot be imported"),
        ("{folder}/none.py:toy", {}, "there is no file"),
        ("{folder}/mine.py:tow", {}, "has no function 'tow'; it has toy, odd"),
        ("{folder}/mine.py:toy", {"widht": 1}, "did you mean 'width'?\nmodel {folder}/mine.py:toy takes width=4, wi"),
        ("{folder}/mine.py:odd", {}, "expected a torch.nn.Module, found str"),
        ("{folder}/broken.py:toy", {}, "cannot be imported"),
    ],
)  # fmt: skip
def test_mistakes_are_told(tmp_path: Path, name: str, args: dict[str, object], words: str) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    (tmp_path / "broken.py").write_text("def toy(num_classes:\n")
    with pytest.raises(RecipeError) as caught:
        built(name.format(folder=tmp_path), **args)
    assert words.format(folder=tmp_path) in str(caught.value)


def test_the_generator_decides_the_weights() -> None:
    a, b = built("small_cnn"), built("small_cnn")
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
