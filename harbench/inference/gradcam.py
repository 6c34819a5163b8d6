"""Grad-CAM: where a convolutional network looked (arXiv:1610.02391)."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from harbench.errors import HarbenchError

if TYPE_CHECKING:
    from torch import nn

    from harbench.inference.predictor import Predictor

_PICTURES = 4
"""Frames of the clip that are shown."""


def heat_pictures(predictor: Predictor, path: Path) -> list[str]:
    """A few frames of a file's center view with the heat of its best class, as `data:` JPEGs.

    Empty for what is no convolutional network of pictures, or was opened without torch.
    """
    trained = predictor.opened.models[0]
    if len(predictor.opened.models) > 1 or trained.module is None or trained.caches[0].stream != "rgb":
        return []
    if trained.input.with_pose:
        return []
    try:
        view = predictor.center_view(path)
    except HarbenchError:
        return []
    heat = grad_cam(trained.module, trained.input, view)
    if heat is None:
        return []
    frames = view.transpose(1, 2, 3, 0)
    frames = np.repeat(frames, 3, axis=3) if frames.shape[3] == 1 else frames
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(_PICTURES, len(frames))).round().astype(int))
    return [_data(blended(frames[number], heat[number])) for number in chosen.tolist()]


def grad_cam(module: nn.Module, config: Any, view: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32] | None:
    """Heat in 0..1, `[T, H, W]`, of a view `[C, T, H, W]`; None where the network has no convolution with a map.

    The last convolution whose output has a place (more than one) is taken; its channels are weighted by the mean gradient
    of the best logit.
    """
    import torch
    from torch import nn
    from torch.nn.functional import interpolate

    from harbench.frames.streams import normalize

    kept: dict[str, torch.Tensor] = {}

    def keep(_: nn.Module, __: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor) and output.ndim in (4, 5) and output.shape[-1] > 1 and output.requires_grad:
            kept["map"] = output

    where = next(module.parameters()).device
    hooks = [each.register_forward_hook(keep) for each in module.modules() if isinstance(each, nn.Conv2d | nn.Conv3d)]
    try:
        with torch.enable_grad():
            frames = torch.from_numpy(np.ascontiguousarray(view))[None].to(where)
            inputs = normalize(frames, config).requires_grad_()
            logits = module(inputs)
            if "map" not in kept:
                return None
            (gradient,) = torch.autograd.grad(logits[0, logits[0].argmax()], kept["map"], allow_unused=True)
    finally:
        for hook in hooks:
            hook.remove()
    if gradient is None:
        return None
    features = kept["map"].detach()
    places = tuple(range(2, features.ndim))
    heat = (gradient.mean(dim=places, keepdim=True) * features).sum(dim=1).relu()
    size = view.shape[1:]
    if features.ndim == 4:  # one map a frame, or one of all frames
        heat = heat[None] if len(heat) > 1 else heat[:, None]
    heat = interpolate(heat[None], size=size, mode="trilinear", align_corners=False)[0, 0]
    scaled: npt.NDArray[np.float32] = (heat / heat.max().clamp_min(1e-12)).cpu().numpy()
    return scaled


def blended(frame: npt.NDArray[np.uint8], heat: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """An RGB frame with its heat over it."""
    colors = cv2.applyColorMap((255 * heat).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    mixed: npt.NDArray[np.uint8] = (0.55 * frame + 0.45 * colors).astype(np.uint8)
    return mixed


def _data(image: npt.NDArray[np.uint8]) -> str:
    content = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]))[1].tobytes()
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
