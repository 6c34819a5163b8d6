"""The smallest legal input of every shipped model, and the arguments that go with it."""

from __future__ import annotations

from typing import Any

TINY_ARGS: dict[str, dict[str, Any]] = {
    "timm_image": {"architecture": "resnet10t"},
    "c3d": {"size": 32},
    "small_cnn_lstm": {"size": 32},
    "frame_cnn": {"size": 32},
    "block_cnn": {"size": 32, "frames": 16},
    "cnn_gru": {"backbone": "timm:efficientnet_b0"},
    "tsm": {"backbone": "resnet18", "frames": 4},
    "tsn": {"backbone": "resnet18"},
    "flow_stack": {"backbone": "small_cnn", "frames": 4},
    "mvit_v2_s": {"frames": 4, "size": 64},
    "videomae": {"frames": 4, "size": 32, "width": 48, "depth": 2, "heads": 2},
    "stgcn": {"joints": 17, "bodies": 1},
    "stgcnpp": {"joints": 17, "bodies": 1},
    "ctrgcn": {"joints": 17, "bodies": 1},
    "poseconv3d": {"joints": 17, "bodies": 1, "size": 16},
    "ddnet": {"joints": 17, "channels": 3},
}
"""Of a contract test: smaller than the defaults."""

TINY_SHAPES: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("cnn_lstm", "pose_mlp", "ddnet", "stgcn", "stgcnpp", "ctrgcn", "poseconv3d"), (3, 8, 17, 1)),
    "cnn_gru": (3, 4, 32, 32),
    "slow_r50": (3, 8, 32, 32),
    "resnet50": (3, 4, 64, 64),  # at 32 pixels its last maps are single values, which batch norm of two makes infinite
    "tsm": (3, 4, 32, 32),
    "flow_stack": (2, 4, 32, 32),
    "mvit_v2_s": (3, 4, 64, 64),
    "videomae": (3, 4, 32, 32),
}
OTHERS = (3, 16, 32, 32)
NEEDS = {"videomae": "transformers"}
"""Models that need a package which is not installed by default."""


def tiny(name: str) -> tuple[dict[str, Any], tuple[int, ...]]:
    """Arguments, and `[C, T, H, W]` or `[C, T, V, M]`."""
    return TINY_ARGS.get(name, {}), TINY_SHAPES.get(name, OTHERS)
