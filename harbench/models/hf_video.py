"""Video transformers of `transformers` (extra `hf`): VideoMAE, TimeSformer, ViViT, V-JEPA 2. Input `[B, 3, T, H, W]`.

`encoder` false is the classifier as its fine-tuned weights have it. True is the encoder alone, as self-supervised weights
have it, under a fresh LayerNorm and linear layer: what is fine-tuned, or what `model.probe` reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import torch
from torch import nn

from harbench.errors import RecipeError


def videomae(
    num_classes: int,
    frames: int = 16,
    size: int = 224,
    encoder: bool = False,
    config: Mapping[str, Any] | None = None,
) -> nn.Module:
    """VideoMAE of Tong et al. (NeurIPS 2022, arXiv:2203.12602), ViT-B unless `config` says otherwise: 86.5 M parameters.

    `config` holds further keywords of `transformers.VideoMAEConfig`. Weights: hf:MCG-NJU/videomae-base-finetuned-kinetics,
    or with `encoder` hf:MCG-NJU/videomae-base, and any other of their shape.
    """
    return _video("videomae", num_classes, encoder, {"num_frames": frames, "image_size": size}, config)


def timesformer(
    num_classes: int,
    frames: int = 8,
    size: int = 224,
    encoder: bool = False,
    config: Mapping[str, Any] | None = None,
) -> nn.Module:
    """TimeSformer with divided attention of Bertasius et al. (ICML 2021, arXiv:2102.05095): 121.6 M parameters.

    `config` holds further keywords of `transformers.TimesformerConfig`. Weights:
    hf:facebook/timesformer-base-finetuned-k400/pytorch_model.bin, and any other of its shape.
    """
    return _video("timesformer", num_classes, encoder, {"num_frames": frames, "image_size": size}, config)


def vivit(
    num_classes: int,
    frames: int = 32,
    size: int = 224,
    encoder: bool = False,
    config: Mapping[str, Any] | None = None,
) -> nn.Module:
    """ViViT-B/16x2, model 1 of Arnab et al. (ICCV 2021, arXiv:2103.15691): 89 M parameters.

    `config` holds further keywords of `transformers.VivitConfig`. Weights:
    hf:google/vivit-b-16x2-kinetics400/pytorch_model.bin, and any other of its shape.
    """
    return _video("vivit", num_classes, encoder, {"num_frames": frames, "image_size": size}, config)


def vjepa2(
    num_classes: int,
    frames: int = 64,
    size: int = 256,
    encoder: bool = True,
    config: Mapping[str, Any] | None = None,
) -> nn.Module:
    """V-JEPA 2 of Assran et al. (2025, arXiv:2506.09985), ViT-L unless `config` says otherwise: 304 M parameters.

    `config` holds further keywords of `transformers.VJEPA2Config`. Weights: hf:facebook/vjepa2-vitl-fpc64-256, or without
    `encoder`, under the attentive classifier, hf:facebook/vjepa2-vitl-fpc16-256-ssv2.
    """
    return _video("vjepa2", num_classes, encoder, {"frames_per_clip": frames, "crop_size": size}, config)


class HFClassifier(nn.Module):
    """A classifier of `transformers`, which wants time before channels."""

    def __init__(self, net: nn.Module, renamed: Mapping[str, str]) -> None:
        super().__init__()
        self.net = net
        self.renamed = renamed

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """`[B, 3, T, H, W]` to logits `[B, K]`."""
        logits: torch.Tensor = self.net(**_as_wanted(self.net, frames)).logits
        return logits


class HFEncoder(nn.Module):
    """An encoder of `transformers` under a linear layer."""

    def __init__(self, backbone: Any, times: int | None, num_classes: int, renamed: Mapping[str, str]) -> None:
        """`times` is the length of its tokens' time axis; None takes the class token, which then comes first."""
        super().__init__()
        self.backbone, self.times = backbone, times
        self.norm = nn.LayerNorm(backbone.config.hidden_size)
        self.classifier = nn.Linear(backbone.config.hidden_size, num_classes)
        self.renamed = renamed

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """`[B, 3, T, H, W]` to logits `[B, K]`, averaged over the times of the tokens."""
        wanted = _as_wanted(self.backbone, frames)
        if "pixel_values_videos" in wanted:
            wanted["skip_predictor"] = True
        tokens = self.backbone(**wanted).last_hidden_state
        tokens = tokens[:, :1] if self.times is None else tokens.unflatten(1, (self.times, -1)).mean(dim=2)
        logits: torch.Tensor = self.classifier(self.norm(tokens)).mean(dim=1)
        return logits


def transformers() -> ModuleType:
    """The package. Raises RecipeError where it is not installed."""
    try:
        import transformers as package
    except ImportError:
        raise RecipeError("this model needs `transformers`:  pip install 'harbench[hf]'") from None
    package.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    return package


def checked(config: type, settings: Mapping[str, Any]) -> dict[str, Any]:
    """`settings` for a configuration of `transformers`, which itself takes any word. Raises ValueError for an unknown one."""
    known = config().to_dict()
    if wrong := [key for key in settings if key not in known]:
        raise ValueError(f"{config.__name__} has no {', '.join(wrong)}; it has {', '.join(sorted(known))}")
    return dict(settings)


_OLD_VIT = {
    r"encoder\.layer\.": "layers.",
    r"attention\.attention\.query": "attention.q_proj",
    r"attention\.attention\.key": "attention.k_proj",
    r"attention\.attention\.value": "attention.v_proj",
    r"attention\.output\.dense": "attention.o_proj",
    r"intermediate\.dense": "mlp.fc1",
    r"output\.dense": "mlp.fc2",
}
_RENAMED = {
    "videomae": {r"attention\.q_bias": "attention.query.bias", r"attention\.v_bias": "attention.value.bias"},
    "vivit": _OLD_VIT,
}
"""What `transformers` 5 calls the tensors of the published files, as in its conversion_mapping.py."""


def _video(
    kind: str, num_classes: int, encoder: bool, sizes: Mapping[str, Any], config: Mapping[str, Any] | None
) -> nn.Module:
    package = transformers()
    settings = checked(package.CONFIG_MAPPING[kind], {**sizes, **(config or {})})
    made = package.CONFIG_MAPPING[kind](num_labels=num_classes, **settings)
    net, renamed = package.AutoModelForVideoClassification.from_config(made), _RENAMED.get(kind, {})
    if not encoder:
        return HFClassifier(net, renamed)
    by_time = {"videomae": "num_frames", "vjepa2": "frames_per_clip"}
    times = getattr(made, by_time[kind]) // made.tubelet_size if kind in by_time else None
    if kind == "vjepa2":
        net.base_model.predictor = nn.Identity()  # of masked tokens, in self-supervised training alone
    return HFEncoder(net.base_model, times, num_classes, {**renamed, rf"^{kind}\.": ""})


def _as_wanted(net: Any, frames: torch.Tensor) -> dict[str, Any]:
    return {net.main_input_name: frames.transpose(1, 2)}
