"""Where a run works: the device, and what a bit-exact repetition needs to be equal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harbench import __version__
from harbench.errors import RunError

if TYPE_CHECKING:
    import torch


def choose_device(name: str) -> torch.device:
    """`auto` is the first GPU where there is one, else the CPU."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise RunError(f"there is no device {name!r}; try auto, cpu, cuda or cuda:0") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise RunError(f"--device {name}: torch finds no CUDA GPU here; try --device cpu")
    return device


def environment(device: torch.device) -> dict[str, Any]:
    """What a bit-exact repetition needs to be equal: device, versions, threads."""
    import platform

    import av
    import cv2
    import numpy
    import torch
    import torchvision

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__, "numpy": numpy.__version__}
    versions |= {
        "cv2": cv2.__version__,
        "av": av.__version__,
        "python": platform.python_version(),
        "harbench": __version__,
    }
    return {"device": str(device), "device_name": name, "threads": torch.get_num_threads(), "versions": versions}
