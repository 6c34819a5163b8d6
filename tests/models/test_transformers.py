"""Models of `transformers` against the package's own classes, processors and tokenizers, on the same random weights."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file
from tiny_models import TINY_XCLIP, tiny
from toys import TINY_TEXT, TINY_TOWER, tokenizer_beside

from harbench.errors import RecipeError, WeightsError
from harbench.frames.streams import normalize
from harbench.models.build import build_model
from harbench.models.prompts import write_prompts
from harbench.recipe import InputConfig, ModelConfig
from harbench.training.optim import build_optimizer

CLASSES = ("walk", "run", "jump")
WORDS = (("walking",), ("running", "running fast"), ("jumping up",))
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
FRAMES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 4, 32, 32, 3), np.uint8))
"""`[B, T, H, W, C]`"""


def as_input(preset: str) -> torch.Tensor:
    """`[B, C, T, H, W]` as the loader and `normalize` make it."""
    config = InputConfig.model_validate({"clip": {"segments": {"n": 4}}, "normalize": preset, "size": 32})
    return normalize(FRAMES.permute(0, 4, 1, 2, 3), config)


def published(net: torch.nn.Module, path: Path) -> Path:
    """The state of a model of the package as a file."""
    save_file({key: value.contiguous().clone() for key, value in net.state_dict().items()}, path)
    return path


@pytest.mark.parametrize(
    ("name", "preset", "processor"),
    [
        ("videomae", "imagenet", IMAGENET),
        ("timesformer", "slowfast", {"image_mean": [0.45] * 3, "image_std": [0.225] * 3}),
        ("vivit", "half", {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}),
        ("vjepa2", "imagenet", IMAGENET),
    ],
)
def test_classifiers_are_the_packages(name: str, preset: str, processor: dict[str, Any], tmp_path: Path) -> None:
    args, _ = tiny(name)
    torch.manual_seed(3)
    ours = build_model(ModelConfig(name=name, args={**args, "encoder": False}), 3)
    kind = type(ours.net)
    torch.manual_seed(4)
    theirs = kind(ours.net.config).eval()
    saved = published(theirs, tmp_path / "theirs.safetensors")
    ours = build_model(ModelConfig(name=name, args={**args, "encoder": False}, weights=str(saved), head="keep"), 3)
    prepare = transformers.VideoMAEVideoProcessor(
        do_resize=False, do_center_crop=False, do_sample_frames=False, **processor
    )
    videos = [list(each.permute(0, 3, 1, 2)) for each in FRAMES]
    pixels = prepare(videos, return_tensors="pt")
    pixels = pixels.get("pixel_values", pixels.get("pixel_values_videos"))
    torch.testing.assert_close(as_input(preset).transpose(1, 2), pixels, atol=1e-5, rtol=1e-5)
    with torch.inference_mode():
        expected = theirs(**{theirs.main_input_name: pixels}).logits
        torch.testing.assert_close(ours.eval()(as_input(preset)), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["videomae", "timesformer", "vivit", "vjepa2"])
def test_an_encoder_takes_self_supervised_weights(name: str, tmp_path: Path) -> None:
    args, _ = tiny(name)
    config = ModelConfig(name=name, args={**args, "encoder": True})
    reference = build_model(config, 3).backbone
    state = {f"{name}.{key}": value.clone() for key, value in reference.state_dict().items()}
    save_file(state | {"decoder.weight": torch.zeros(2)}, tmp_path / "pretrained.safetensors")
    torch.manual_seed(9)
    ours = build_model(config.model_copy(update={"weights": str(tmp_path / "pretrained.safetensors")}), 3)
    for key, value in reference.state_dict().items():
        assert torch.equal(ours.backbone.state_dict()[key], value), key
    with torch.inference_mode():
        wanted: dict[str, Any] = {reference.main_input_name: as_input("imagenet").transpose(1, 2)}
        tokens = reference.eval()(**wanted, **{"skip_predictor": True} if name == "vjepa2" else {}).last_hidden_state
        means = tokens.mean(dim=1) if name in ("videomae", "vjepa2") else tokens[:, 0]
        ours.eval().norm = torch.nn.Identity()  # linear from here on, so that the order of the means does not matter
        torch.testing.assert_close(ours(as_input("imagenet")), ours.classifier(means), atol=1e-5, rtol=1e-5)


def test_old_names_of_the_published_files_are_known(tmp_path: Path) -> None:
    """As the files of 2022 on the hub name them: the package renames them too, in conversion_mapping.py."""
    old = {
        "videomae": [("attention.query.bias", "attention.q_bias"), ("attention.value.bias", "attention.v_bias")],
        "vivit": [
            (".attention.q_proj.", ".attention.attention.query."), (".attention.k_proj.", ".attention.attention.key."),
            (".attention.v_proj.", ".attention.attention.value."), (".attention.o_proj.", ".attention.output.dense."),
            (".mlp.fc1.", ".intermediate.dense."), (".mlp.fc2.", ".output.dense."), ("vivit.layers.", "vivit.encoder.layer."),
        ],
    }  # fmt: skip
    for name, pairs in old.items():
        config = ModelConfig(name=name, args={**tiny(name)[0], "encoder": False})
        net = build_model(config, 3).net
        state = {}
        for key, value in net.state_dict().items():
            for new, before in pairs:
                key = key.replace(new, before)
            state[key] = value.clone()
        assert state.keys() != net.state_dict().keys()
        save_file(state, tmp_path / f"{name}.safetensors")
        again = build_model(
            config.model_copy(update={"weights": str(tmp_path / f"{name}.safetensors"), "head": "keep"}), 3
        )
        assert all(torch.equal(value, again.net.state_dict()[key]) for key, value in net.state_dict().items())


def test_layer_decay_knows_the_blocks() -> None:
    from harbench.recipe.training import OptimizerConfig

    for name in ("videomae", "timesformer"):
        model = build_model(ModelConfig(name=name, args=tiny(name)[0]), 3)
        optimizer = build_optimizer(model, OptimizerConfig(name="adamw", lr=1.0, layer_decay=0.5))
        rates = {round(group["lr"], 4) for group in optimizer.param_groups}
        assert rates >= {1.0, 0.5, 0.25, 0.125}, (name, rates)  # head, two blocks, embedding


def reference_of(name: str) -> torch.nn.Module:
    torch.manual_seed(5)
    if name == "clip":
        config = transformers.CLIPConfig(text_config=TINY_TEXT, vision_config=TINY_TOWER, projection_dim=16)
        return transformers.CLIPModel(config).eval()
    if name == "siglip":
        return transformers.SiglipModel(
            transformers.SiglipConfig(text_config=TINY_TEXT, vision_config=TINY_TOWER)
        ).eval()
    vision = {**TINY_XCLIP, "num_frames": 4}
    return transformers.XCLIPModel(
        transformers.XCLIPConfig(text_config=TINY_TEXT, vision_config=vision, projection_dim=16)
    ).eval()


@pytest.mark.parametrize(("name", "preset"), [("clip", "clip"), ("siglip", "half"), ("xclip", "imagenet")])
def test_zero_shot_logits_are_the_packages(name: str, preset: str, tmp_path: Path) -> None:
    theirs = reference_of(name)
    saved, tokenizer = published(theirs, tmp_path / "theirs.safetensors"), tokenizer_beside(tmp_path)
    config = ModelConfig(name=name, args=tiny(name)[0], weights=str(saved), prompts=("he is {}",))
    ours = build_model(config, 3).eval()
    write_prompts(ours, config, [("walking",), ("running",), ("jumping",)])
    ids = [tokenizer.encode(f"he is {word}").ids for word in ("walking", "running", "jumping")]
    longest = TINY_TEXT["max_position_embeddings"]
    padded = torch.tensor([[*each, *[0] * (longest - len(each))] for each in ids])
    frames = as_input(preset)
    with torch.inference_mode():
        found = ours(frames)
        if name == "xclip":
            expected = theirs(input_ids=padded, pixel_values=frames.transpose(1, 2)).logits_per_video
        else:  # a clip of one and the same frame has that frame's logits
            still = frames[:, :, :1].expand(-1, -1, 4, -1, -1)
            found = ours(still)
            expected = theirs(input_ids=padded, pixel_values=frames[:, :, 0]).logits_per_image
            expected = expected - theirs.logit_bias if name == "siglip" else expected
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)
        assert found.shape == (2, 3) and found.std() > 0


def test_several_sentences_of_a_class_are_averaged(tmp_path: Path) -> None:
    theirs = reference_of("clip")
    saved, tokenizer = published(theirs, tmp_path / "theirs.safetensors"), tokenizer_beside(tmp_path)
    config = ModelConfig(name="clip", args=tiny("clip")[0], weights=str(saved), prompts=("he is {}", "{} now"))
    ours = build_model(config, 3)
    write_prompts(ours, config, WORDS)
    with torch.inference_mode():
        for row, words in zip(ours.classifier.weight, WORDS, strict=True):
            texts = [prompt.format(word) for prompt in config.prompts for word in words]
            each = [
                theirs.get_text_features(torch.tensor([tokenizer.encode(text).ids])).pooler_output[0] for text in texts
            ]
            mean = torch.stack([vector / vector.norm() for vector in each]).mean(dim=0)
            torch.testing.assert_close(row, theirs.logit_scale.exp() * mean / mean.norm(), atol=1e-5, rtol=1e-5)


def test_prompts_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    saved = published(reference_of("clip"), tmp_path / "theirs.safetensors")
    config = ModelConfig(name="clip", args=tiny("clip")[0], weights=str(saved), prompts=("he is {}",))
    model = build_model(config, 3)
    with pytest.raises(WeightsError, match="expected the model's tokenizer beside its weights"):
        write_prompts(model, config, WORDS)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(WeightsError, match="cannot be read as a tokenizer"):
        write_prompts(model, config, WORDS)
    tokenizer_beside(tmp_path)
    with pytest.raises(RecipeError, match="has 28 tokens, and the model reads 24"):
        write_prompts(model, config, [("a" * 20,)] * 3)
    with pytest.raises(RecipeError, match="needs a model with a text tower"):
        write_prompts(model, ModelConfig(name="small_cnn", weights="x", prompts=("{}",)), WORDS)
    with pytest.raises(RecipeError, match="has no patchsize"):
        build_model(ModelConfig(name="clip", args={"vision": {"patchsize": 16}}), 3)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(RecipeError, match=r"pip install 'harbench\[hf\]'"):
        build_model(ModelConfig(name="videomae"), 4)


def test_a_clip_of_one_tubelet_is_averaged_over_its_places() -> None:
    args = {**tiny("videomae")[0], "frames": 2, "encoder": True}
    model = build_model(ModelConfig(name="videomae", args=args), 3).eval()
    frames = torch.randn(1, 3, 2, 32, 32)
    with torch.inference_mode():
        tokens = model.backbone(frames.transpose(1, 2)).last_hidden_state
        torch.testing.assert_close(model(frames), model.classifier(model.norm(tokens.mean(dim=1))))
