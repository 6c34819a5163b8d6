"""Weights from hubs and files: what is taken over, what stays fresh, and what a user reads when they cannot be had."""

from __future__ import annotations

import hashlib
import io
import json
import urllib.error
import warnings
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn
from torchvision.models import resnet18, video

from harbench.errors import HarbenchWarning, WeightsError
from harbench.models import hubs
from harbench.models.build import build_model, check_normalization
from harbench.models.weight_files import read_tensors
from harbench.models.weights import _renamed, check_weights, load_weights
from harbench.recipe import Fusion, ModelConfig, Recipe, load_any, load_recipe

MC3 = "mc3_18-a90a0ba3.pth"


class Foreign:
    """An object that a file must not bring along."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty torch hub on a machine that is offline."""

    def offline(*_: object, **__: object) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def small(path: str | None, classes: int = 3, names: list[str] | None = None) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return build_model(ModelConfig(name="small_cnn", weights=path), classes, classes=names or [])


def trained(classes: int = 3) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        return build_model(ModelConfig(name="small_cnn"), classes).state_dict()


def same_body(model: nn.Module, state: dict[str, torch.Tensor]) -> bool:
    own = model.state_dict()
    return all(torch.equal(own[key], state[key]) for key in own if not key.startswith("net.14."))


def same_head(model: nn.Module, state: dict[str, torch.Tensor]) -> bool:
    own = model.state_dict()["net.14.weight"]
    return own.shape == state["net.14.weight"].shape and torch.equal(own, state["net.14.weight"])


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("classes", [3, 9])
def test_a_file_fills_the_body_and_a_head_of_the_same_size(tmp_path: Path, suffix: str, classes: int) -> None:
    path, state = tmp_path / f"w{suffix}", trained()
    safetensors.torch.save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    model = small(str(path), classes)
    assert same_body(model, state)
    assert same_head(model, state) == (classes == 3)


def test_a_head_for_other_classes_stays_fresh(tmp_path: Path) -> None:
    path, state = tmp_path / "w.safetensors", trained()
    safetensors.torch.save_file(state, path, {"classes": json.dumps(["a", "b", "c"])})
    assert same_head(small(str(path), names=["a", "b", "c"]), state)
    for names in (["b", "a", "c"], None):
        model = small(str(path), names=names)
        assert same_body(model, state)
        assert not same_head(model, state)


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_state_dict"])
def test_wrapped_and_prefixed_tensors_are_found(tmp_path: Path, wrapper: str) -> None:
    state = trained()
    bare = {f"module.{key.removeprefix('net.')}": value for key, value in state.items()}
    torch.save({wrapper: bare, "epoch": 3}, tmp_path / "w.pth")
    assert same_head(small(str(tmp_path / "w.pth")), state)


def test_what_is_fresh_and_unused_is_reported(tmp_path: Path) -> None:
    path, state = tmp_path / "w.pth", trained(9)
    del state["net.1.num_batches_tracked"]
    torch.save(state | {"net.extra.weight": torch.zeros(1)}, path)
    config = ModelConfig(name="small_cnn", weights=str(path))
    model = small(None)
    with pytest.warns(HarbenchWarning, match=r"1 tensors have no place in the model: net\.extra\.weight"):
        report = load_weights(model, config)
    assert report.fresh == ("net.14.weight", "net.14.bias")
    assert report.unused == ("net.extra.weight",)
    assert report.loaded == len(model.state_dict()) - 3


def test_weights_of_another_model_are_an_error_that_lists_them(tmp_path: Path) -> None:
    path, state = tmp_path / "w.pth", trained()
    state["net.0.weight"] = torch.zeros(8, 3, 3, 3)
    del state["net.3.weight"]
    torch.save(state, path)
    with pytest.raises(WeightsError) as caught:
        small(str(path))
    assert "2 of its 26 tensors do not fit" in str(caught.value)
    assert "net.0.weight: expected [32, 3, 3, 3], found [8, 3, 3, 3]" in str(caught.value)
    assert "net.3.weight: expected [64, 32, 3, 3], missing" in str(caught.value)


def test_objects_are_never_executed(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"state_dict": trained(), "args": Foreign()}, path)
    with pytest.raises(WeightsError, match=r"needs code to be read \(.*Foreign\).*does not run code") as caught:
        read_tensors(path)
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "text"])
def test_truncated_and_foreign_files_are_told(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pth")
    if kind == "safetensors":
        whole = safetensors.torch.save(trained())
    elif kind == "text":
        whole = b"<html>404 not found</html>" * 100
    else:
        buffer = io.BytesIO()
        torch.save(trained(), buffer, _use_new_zipfile_serialization=kind == "zip")
        whole = buffer.getvalue()
    for keep in {0, 1, 7, 60, 150, 1500, len(whole) // 2, len(whole) - 1}:
        path.write_bytes(whole[:keep])
        with pytest.raises(WeightsError, match="truncated"):
            read_tensors(path)


def test_a_file_without_a_state_dict_is_told(tmp_path: Path) -> None:
    torch.save([torch.zeros(1)], tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="expected a state dict"):
        read_tensors(tmp_path / "w.pth")


@pytest.mark.parametrize("ask", [check_weights, lambda config: build_model(config, 5)])
def test_offline_the_error_names_file_folder_and_ways_out(hub: Path, ask: object) -> None:
    with pytest.raises(WeightsError) as caught:
        ask(ModelConfig(name="mc3_18", weights="kinetics400"))
    text = str(caught.value)
    assert MC3 in text
    assert str(hub) in text
    assert "--set model.weights=PATH" in text
    assert "--set model.weights=null" in text
    assert not list(hub.iterdir())


def test_offline_timm_names_the_file(hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "none"))
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(tmp_path / "none"))
    config = ModelConfig(name="timm_image", weights="imagenet", args={"architecture": "resnet18"})
    with pytest.raises(WeightsError, match=r"timm/resnet18\.a1_in1k(.|\n)*--set model\.weights=PATH"):
        build_model(config, 5)


@pytest.mark.parametrize(
    ("name", "weights", "words"),
    [
        ("mc3_18", "imagenet", "there are no imagenet weights of mc3_18; on a hub it has kinetics400"),
        ("small_cnn", "kinetics400", "on a hub it has none"),
        ("mc3_18", "kinetics", "there is no file .*did you mean 'kinetics400'"),
    ],
)
def test_weights_that_do_not_exist_are_told(hub: Path, name: str, weights: str, words: str) -> None:
    with pytest.raises(WeightsError, match=words):
        check_weights(ModelConfig(name=name, weights=weights))


def test_a_damaged_hub_file_is_told_and_a_whole_one_is_used(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = ModelConfig(name="mc3_18", weights="kinetics400", args={"dropout": 0.5})
    state = video.mc3_18(weights=None).state_dict()
    torch.save(state, hub / MC3)
    for ask in (check_weights, lambda each: build_model(each, 5)):
        with pytest.raises(WeightsError, match=r"truncated or damaged.*a90a0ba3(.|\n)*Delete it"):
            ask(config)
    digest = hashlib.sha256((hub / MC3).read_bytes()).hexdigest()
    monkeypatch.setattr(hubs, "_hash_of", lambda _: digest[:8])
    check_weights(config)
    model = build_model(config, 5)
    assert torch.equal(model.state_dict()["layer1.0.conv1.0.weight"], state["layer1.0.conv1.0.weight"])
    assert model.state_dict()["fc.weight"].shape == (5, 512)


def test_a_download_is_checked_against_its_name(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's transport is replaced: what matters is what is asked of it and where the file lands."""
    state, asked = video.mc3_18(weights=None).state_dict(), []

    def fetch(url: str, target: str, hash_prefix: str, progress: bool) -> None:
        asked.append((url.rpartition("/")[2], hash_prefix, progress))
        torch.save(state, target)

    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: io.BytesIO())
    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    model = build_model(ModelConfig(name="mc3_18", weights="kinetics400"), 5)
    assert asked == [(MC3, "a90a0ba3", False)]
    assert torch.equal(model.state_dict()["stem.0.weight"], state["stem.0.weight"])


def test_a_file_without_a_stated_hash_is_held_to_what_came_first(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = ModelConfig(name="small_cnn", weights="https://example.org/zoo/small.pth")
    asked: list[str] = []

    def fetch(url: str, target: str, hash_prefix: str, progress: bool) -> None:
        asked.append(url)
        if "example.org" in url:
            raise OSError("gone")
        torch.save(trained(), target)

    def opened(url: str, timeout: float) -> io.BytesIO:
        if "example.org" in url:
            raise OSError("gone")
        return io.BytesIO()

    monkeypatch.setattr("urllib.request.urlopen", opened)
    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    with pytest.raises(WeightsError, match="cannot be downloaded"):
        build_model(config, 3)
    monkeypatch.setenv("HARBENCH_WEIGHTS_MIRROR", "https://mirror.local/weights/")
    assert same_body(build_model(config, 3), trained())
    assert asked == ["https://example.org/zoo/small.pth", "https://mirror.local/weights/small.pth"]
    digest = hashlib.sha256((hub / "small.pth").read_bytes()).hexdigest()
    assert (hub / "small.pth.sha256").read_text().strip() == digest
    torch.save(trained() | {"more": torch.zeros(1)}, hub / "small.pth")
    with pytest.raises(WeightsError, match=f"expected the SHA-256 {digest}, found [0-9a-f]{{64}}"):
        build_model(config, 3)


def test_hugging_faces_cache_is_checked_too(tmp_path: Path) -> None:
    blob = tmp_path / "blobs" / ("ab" * 32)
    blob.parent.mkdir()
    blob.write_bytes(b"something else")
    (tmp_path / "model.safetensors").symlink_to(blob)
    with pytest.raises(WeightsError, match=f"expected the SHA-256 {'ab' * 32}, found "):
        hubs.check_hub(hubs.Hub("w", tmp_path / "model.safetensors", "https://huggingface.co/a/b", "a/b"))


def test_weights_by_link_are_kept_and_checked_as_a_hubs(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = ModelConfig(name="small_cnn", weights="https://example.org/zoo/small-0123abcd.pth?download=1")
    with pytest.raises(
        WeightsError, match=r"fetch https://example\.org(.|\n)*into the folder(.|\n)*--set model\.weights=PATH"
    ):
        check_weights(config)
    asked = []

    def fetch(url: str, target: str, hash_prefix: str, progress: bool) -> None:
        asked.append((url, Path(target), hash_prefix))
        torch.save(trained(), target)

    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: io.BytesIO())
    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    assert same_body(build_model(config, 3), trained())
    assert asked == [(config.weights, hub / "small-0123abcd.pth", "0123abcd")]


@pytest.mark.parametrize("recipe", ["tsm_r50_kinetics", "slow_r50"])
def test_mmaction2s_names_are_mapped(recipe: str) -> None:
    """Names as `mmaction.models.backbones.resnet_tsm` and `resnet3d_slowonly` give them; shapes are not looked at here."""
    config = load_recipe(Path(__file__).parents[2] / f"recipes/{recipe}.yaml").model
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    theirs = ["cls_head.fc_cls.weight", "cls_head.fc_cls.bias", "backbone.conv1.conv.weight"]
    theirs += [f"backbone.conv1.bn.{each}" for each in norm]
    for layer, blocks in enumerate((3, 4, 6, 3), 1):
        for block in range(blocks):
            for part in ("conv1", "conv2", "conv3", *(["downsample"] if block == 0 else [])):
                name = f"backbone.layer{layer}.{block}.{part}"
                shifted = part == "conv1" and config.name == "tsm"
                theirs += [f"{name}.conv.{'net.' if shifted else ''}weight", *(f"{name}.bn.{each}" for each in norm)]
    with torch.device("meta"):
        own = build_model(config.model_copy(update={"weights": None}), 400).state_dict()
    state = _renamed(dict.fromkeys(theirs, torch.empty(0)), config, own)
    assert set(state) == set(own)


RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))


def told_of(recipe: Recipe) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_normalization(recipe)
    return [str(each.message) for each in caught]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_normalize_as_their_weights_do(path: Path) -> None:
    recipe = load_any(path)
    assert isinstance(recipe, Fusion) or told_of(recipe) == []


@pytest.mark.parametrize(
    ("recipe", "model", "words"),
    [
        ("mvit_v2_s", {}, r"the kinetics400 weights of mvit_v2_s .*0\.45, .*0\.225.*--set input\.normalize=slowfast$"),
        ("resnet_lstm", {}, r"of resnet18 .*--set input\.normalize=imagenet$"),
        ("resnet18_stanford40", {"name": "timm_image", "args": {"architecture": "vit_tiny_patch16_224"}}, r"=half$"),
        ("resnet18_stanford40", {"name": "timm_image", "args": {"architecture": "inception_v4"}}, r"=half$"),
        (
            "resnet18_stanford40",
            {"name": "timm_image", "args": {"architecture": "dpn68"}},
            "no word",
        ),
    ],
)
def test_another_normalization_is_told(recipe: str, model: dict[str, object], words: str) -> None:
    document = load_recipe(Path(__file__).parents[2] / f"recipes/{recipe}.yaml").model_dump(mode="json")
    document["model"] |= model
    document["input"]["normalize"] = "none"
    with pytest.warns(HarbenchWarning, match=f"^input.normalize: none, but {words}" if words[0] == "t" else words):
        check_normalization(Recipe.model_validate(document))
    document["data"]["cache"]["stream"] = "flow"  # weights of pictures, on other values than theirs by design
    assert told_of(Recipe.model_validate(document)) == []


def test_no_weights_are_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_for: list[object] = []
    monkeypatch.setattr("harbench.models.weights.check_hub", looked_for.append)
    check_weights(ModelConfig(name="mc3_18"))
    assert looked_for == []
    check_weights(ModelConfig(name="mc3_18", weights="kinetics400"))
    assert len(looked_for) == 1


UCF = ["ApplyEyeMakeup", "HammerThrow", "Hammering"]


def named(names: list[str], path: str | None = None, **config: object) -> tuple[nn.Module, object]:
    model = small(None, len(names))
    return model, load_weights(model, ModelConfig(name="small_cnn", weights=path, **config), names)


@pytest.fixture
def pth(tmp_path: Path) -> Path:
    torch.save(trained(), tmp_path / "w.pth")
    return tmp_path / "w.pth"


def test_an_order_that_is_not_stated_is_never_assumed_in_silence(pth: Path) -> None:
    with pytest.warns(HarbenchWarning, match=r"2 are exchanged \(Hammering, HammerThrow\).*weights_classes=sorted"):
        _, report = named(["ApplyEyeMakeup", "Hammering", "HammerThrow"], str(pth))
    assert report.reordered == ()
    named(UCF, str(pth))  # sorted and official are the same: nothing to warn of


def test_rows_of_sorted_folders_are_moved_to_their_names(pth: Path) -> None:
    ours, state = ["Hammering", "HammerThrow", "ApplyEyeMakeup"], trained()
    model, report = named(ours, str(pth), weights_classes="sorted")
    assert report.reordered == ("Hammering", "ApplyEyeMakeup")
    assert torch.equal(model.state_dict()["net.14.weight"], state["net.14.weight"][[2, 1, 0]])
    assert torch.equal(model.state_dict()["net.14.bias"], state["net.14.bias"][[2, 1, 0]])


def test_rows_are_chosen_by_a_list_of_names(pth: Path, tmp_path: Path) -> None:
    (tmp_path / "classInd.txt").write_text("1 hammer throw\r\n2 Apply_Eye_Makeup\r\n3 Hammering\r\n")
    model, _ = named(UCF[:2], str(pth), weights_classes=str(tmp_path / "classInd.txt"))
    assert torch.equal(model.state_dict()["net.14.weight"], trained()["net.14.weight"][[1, 0]])


def test_a_head_is_replaced_or_has_to_be_kept(pth: Path, tmp_path: Path) -> None:
    model, report = named(UCF, str(pth), head="replace")
    assert not same_head(model, trained())
    assert report.fresh == ("net.14.weight", "net.14.bias")
    assert same_head(named(UCF, str(pth), head="keep")[0], trained())
    with pytest.raises(WeightsError, match=r"head: keep, but .* does not fit"):
        named([*UCF, "Archery"], str(pth), head="keep")
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    with pytest.raises(WeightsError, match="knows 3 classes without 3 of these 3: ApplyEyeMakeup"):
        named(UCF, str(pth), head="keep", weights_classes=str(tmp_path / "names.txt"))
    with pytest.raises(WeightsError, match="expected `sorted` or a text file"):
        named(UCF, str(pth), weights_classes=str(tmp_path / "none.txt"))


def test_names_are_stripped_and_mapped(tmp_path: Path) -> None:
    state = trained()
    foreign = {f"encoder.{key.removeprefix('net.').replace('.weight', '.kernel')}": v for key, v in state.items()}
    torch.save(foreign, tmp_path / "w.pth")
    config = {"strip_prefix": "encoder.", "key_map": {r"\.kernel$": ".weight"}}
    assert same_head(named(UCF, str(tmp_path / "w.pth"), **config)[0], state)
    with pytest.raises(WeightsError, match=r"names begin so: .*encoder.*see model\.strip_prefix"):
        named(UCF, str(tmp_path / "w.pth"))


def test_a_finished_run_hands_on_its_weights(tmp_path: Path) -> None:
    state = trained()
    safetensors.torch.save_file(state, tmp_path / "model.safetensors", {"classes": json.dumps(UCF[::-1])})
    model, report = named(UCF, init_from=str(tmp_path))
    assert torch.equal(model.state_dict()["net.14.weight"], state["net.14.weight"].flip(0))
    assert report.reordered == ("ApplyEyeMakeup", "Hammering")
    with pytest.raises(WeightsError, match="expected the folder of a finished run"):
        check_weights(ModelConfig(name="small_cnn", init_from=str(tmp_path / "none")))


def test_image_weights_enter_a_flow_stream_as_their_mean_over_colors(hub: Path) -> None:
    state = resnet18(weights=None).state_dict()
    torch.save(state, hub / "resnet18-f37072fd.pth")
    model = build_model(ModelConfig(name="flow_stack", args={"frames": 3}), 4)
    report = load_weights(
        model, ModelConfig(name="flow_stack", weights=str(hub / "resnet18-f37072fd.pth")), list("abcd")
    )
    first = model.net.conv1.weight
    assert first.shape == (64, 6, 7, 7)
    torch.testing.assert_close(first[:, 4], state["conv1.weight"].mean(1))
    assert report.fresh == ("net.fc.weight", "net.fc.bias")


def test_image_weights_fill_the_backbone_of_a_recurrent_network_alone(tmp_path: Path) -> None:
    state = resnet18(weights=None).state_dict()
    torch.save(state, tmp_path / "w.pth")
    model = build_model(ModelConfig(name="resnet_lstm", weights=str(tmp_path / "w.pth")), 4, classes=list("abcd"))
    assert torch.equal(model.backbone.layer1[0].conv1.weight, state["layer1.0.conv1.weight"])


@pytest.mark.parametrize(
    ("name", "weights", "words"),
    [
        ("tsm", "imagenet", "resnet50-11ad3fa6.pth is not on this machine"),
        ("tsm", "imagenet_v1", "resnet50-0676ba61.pth is not on this machine"),
        ("cnn_gru", "imagenet", "huggingface.co/timm/efficientnet_b0"),
        ("videomae", "hf:some/model", "huggingface.co/some/model/resolve/main/model.safetensors"),
        ("videomae", "hf:some/model/a.pth", "fetch https://huggingface.co/some/model/resolve/main/a.pth"),
        ("videomae", "hf:some", "expected hf:owner/name"),
        ("motion3d", "imagenet", "there are no imagenet weights of motion3d"),
    ],
)
@pytest.mark.usefixtures("hub")
def test_where_published_weights_would_come_from(name: str, weights: str, words: str) -> None:
    with pytest.raises(WeightsError) as caught:
        check_weights(ModelConfig(name=name, weights=weights))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"weights": "imagenet", "init_from": "runs/a"}, "give weights or init_from, not both"),
        ({"weights": "imagenet", "key_map": {"(": ""}}, "is no regular expression"),
        ({"head": "keep"}, "head: keep needs weights or init_from"),
    ],
)
def test_contradictions_are_told_by_the_recipe(config: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ModelConfig(name="resnet18", **config)


def test_a_list_of_classes_that_cannot_be_right_is_told(pth: Path, tmp_path: Path) -> None:
    names = tmp_path / "classes.txt"
    for listed, words in (
        (UCF[:1], "1 names, but .* has 3 rows"),
        ([*UCF[:2], "apply eye makeup"], "'ApplyEyeMakeup' stands more than once"),
    ):
        names.write_text("\n".join(listed))
        with pytest.raises(WeightsError, match=words):
            named(UCF, str(pth), weights_classes=str(names))
    names.write_text("ApplyEyeMakeup\nHamerThrow\nHammering")
    with pytest.warns(HarbenchWarning, match=r"1 of our 3 classes are not in it, first 'HammerThrow'.*head=replace"):
        named(UCF, str(pth), weights_classes=str(names))
