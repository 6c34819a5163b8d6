"""Video-text models of `transformers` (extra `hf`): CLIP, SigLIP 2, X-CLIP. Input `[B, 3, T, H, W]`.

The model is the image or video tower under a classification layer of one vector a class. `model.prompts` makes these of the
classes' names with the text tower, which is then left behind: a zero-shot model is saved, exported and used as any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from harbench.errors import RecipeError, WeightsError
from harbench.models.hf_video import checked, transformers

Settings = Mapping[str, Any] | None
Sentences = Sequence[Sequence[str]]


def clip(num_classes: int, vision: Settings = None, text: Settings = None, dim: int = 512) -> nn.Module:
    """CLIP of Radford et al. (ICML 2021, arXiv:2103.00020), ViT-B/32 unless told, on every frame.

    The embeddings of the frames are averaged, as ViFi-CLIP does (arXiv:2212.03640). `vision` and `text` hold keywords of
    `transformers.CLIPVisionConfig` and `CLIPTextConfig`, `dim` the width of what they share; ViT-B/16 is
    `vision: {patch_size: 16}` with the weights hf:openai/clip-vit-base-patch16/pytorch_model.bin.
    """
    net = _without(_clip(vision, text, dim), "text_model", "text_projection", "logit_scale")
    return FrameText(net, dim, num_classes)


def siglip(num_classes: int, vision: Settings = None, text: Settings = None) -> nn.Module:
    """SigLIP and SigLIP 2 at a fixed size (arXiv:2303.15343, arXiv:2502.14786), ViT-B/16 unless told, on every frame.

    `vision` and `text` hold keywords of `transformers.SiglipVisionConfig` and `SiglipTextConfig`; SigLIP 2 is
    `text: {vocab_size: 256000, pad_token_id: 0}` with the weights hf:google/siglip2-base-patch16-224.
    """
    net = _without(_siglip(vision, text), "text_model", "logit_scale", "logit_bias")
    return FrameText(net, net.config.vision_config.hidden_size, num_classes)


def xclip(
    num_classes: int, frames: int = 8, vision: Settings = None, text: Settings = None, dim: int = 512
) -> nn.Module:
    """X-CLIP of Ni et al. (ECCV 2022, arXiv:2208.02816), ViT-B/32 of 8 frames unless told.

    The vector of a class depends on the video. `vision` and `text` hold keywords of `transformers.XCLIPVisionConfig` and
    `XCLIPTextConfig`. The zero-shot weights are hf:microsoft/xclip-base-patch16-zero-shot/pytorch_model.bin with
    `frames: 32` and `vision: {patch_size: 16}`.
    """
    net = _without(_xclip(frames, vision, text, dim), "text_model", "text_projection")
    return VideoText(net, dim, num_classes)


class FrameText(nn.Module):
    """The mean embedding of the frames against one vector a class."""

    def __init__(self, backbone: nn.Module, width: int, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = nn.Linear(width, num_classes, bias=False)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """`[B, 3, T, H, W]` to logits `[B, K]`."""
        embedded = _pooled(self.backbone.get_image_features(frames.transpose(1, 2).flatten(0, 1)))  # type: ignore[operator]
        means = embedded.view(frames.shape[0], -1, embedded.shape[-1]).mean(dim=1)
        logits: torch.Tensor = self.classifier(F.normalize(means, dim=-1))
        return logits


class VideoText(nn.Module):
    """The embedding of a video against one vector a class, each shifted by what the video shows."""

    def __init__(self, backbone: nn.Module, width: int, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = ShiftedLinear(width, num_classes, bias=False)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """`[B, 3, T, H, W]` to logits `[B, K]`."""
        net: Any = self.backbone
        seen = net.vision_model(pixel_values=frames.transpose(1, 2).flatten(0, 1))
        times = frames.shape[2]
        video = net.mit(net.visual_projection(seen.pooler_output).unflatten(0, (-1, times))).pooler_output
        patches = net.prompts_visual_layernorm(seen.last_hidden_state[:, 1:]) @ net.prompts_visual_projection
        shown = patches.unflatten(0, (-1, times)).mean(dim=1)
        logits: torch.Tensor = self.classifier(F.normalize(video, dim=-1), shown, net.prompts_generator)
        scaled: torch.Tensor = net.logit_scale.exp() * logits
        return scaled


class ShiftedLinear(nn.Linear):
    """A linear layer whose vectors, one a class, are shifted for every sample and normalized."""

    def forward(  # type: ignore[override]
        self, video: torch.Tensor, shown: torch.Tensor, shift: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        """`[B, D]` and what is shown, `[B, P, D]`, to logits `[B, K]`."""
        texts = self.weight.expand(video.shape[0], -1, -1)
        return torch.einsum("bd,bkd->bk", video, F.normalize(texts + shift(texts, shown), dim=-1))


# ------------------------------------------------------------------------------------------------------- text to layer
def class_vectors(
    net: Any, state: Mapping[str, torch.Tensor], tokenize: Callable[[str], Sequence[int]], sentences: Sentences
) -> torch.Tensor:
    """The weight of the classification layer, `[K, D]`, from sentences about each class, whose features are averaged.

    `net` is of `TOWERS`, `state` the published tensors, and `tokenize` gives the ids of a sentence. Except for X-CLIP the
    vectors have unit length times the model's own scale of logits.

    Raises:
        WeightsError: `state` lacks tensors of the text tower. RecipeError: a sentence is too long for it.
    """
    wanted = {key for key in net.state_dict() if not key.startswith(("vision_model.", "mit.", "prompts_", "visual_"))}
    if missing := sorted(wanted - state.keys()):
        raise WeightsError(
            f"model.prompts: the weights lack {len(missing)} tensors of the text tower, first {missing[0]}"
        )
    net.load_state_dict({key: state[key].reshape(net.state_dict()[key].shape) for key in wanted}, strict=False)
    net.eval()
    config = net.config.text_config
    with torch.inference_mode():
        rows = [torch.stack([_embedded(net, config, tokenize(text), text) for text in each]) for each in sentences]
        if isinstance(net, transformers().XCLIPModel):
            return torch.stack([each.mean(dim=0) for each in rows])
        means = torch.stack([F.normalize(each, dim=-1).mean(dim=0) for each in rows])
        vectors: torch.Tensor = F.normalize(means, dim=-1) * net.logit_scale.exp()
    return vectors.clone()


def _embedded(net: Any, config: Any, ids: Sequence[int], text: str) -> torch.Tensor:
    if len(ids) > (longest := config.max_position_embeddings):
        raise RecipeError(f"model.prompts: {text!r} has {len(ids)} tokens, and the model reads {longest}")
    # SigLIP was trained on padded sentences, padding not masked; what follows CLIP's end token changes nothing.
    padding = [config.pad_token_id] * (longest - len(ids)) if config.model_type.startswith("siglip") else []
    features: torch.Tensor = _pooled(net.get_text_features(torch.tensor([[*ids, *padding]])))[0]
    return features


def _pooled(found: Any) -> torch.Tensor:
    """`transformers` 5 returns an object where 4 returned the tensor."""
    pooled: torch.Tensor = getattr(found, "pooler_output", found)
    return pooled


def _clip(vision: Settings = None, text: Settings = None, dim: int = 512) -> Any:
    return _towers("CLIP", vision, text, projection_dim=dim)


def _siglip(vision: Settings = None, text: Settings = None) -> Any:
    return _towers("Siglip", vision, text)


def _xclip(frames: int = 8, vision: Settings = None, text: Settings = None, dim: int = 512) -> Any:
    return _towers("XCLIP", {**(vision or {}), "num_frames": frames}, text, projection_dim=dim)


TOWERS: dict[str, Callable[..., Any]] = {"clip": _clip, "siglip": _siglip, "xclip": _xclip}
"""Model -> both of its towers, from the model's `args`."""


def _towers(kind: str, vision: Settings, text: Settings, **shared: Any) -> Any:
    package = transformers()
    towers = {
        f"{name}_config": checked(getattr(package, f"{kind}{name.title()}Config"), given or {})
        for name, given in (("vision", vision), ("text", text))
    }
    return getattr(package, f"{kind}Model")(getattr(package, f"{kind}Config")(**towers, **shared))


def _without(net: Any, *parts: str) -> Any:
    for part in parts:
        delattr(net, part)
    return net
