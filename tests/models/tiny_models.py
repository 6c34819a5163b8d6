"""The smallest legal input of every shipped model, and the arguments that go with it."""

from __future__ import annotations

from typing import Any

from toys import TINY_HF, TINY_TEXT, TINY_TOWER

TINY_XCLIP = {**TINY_TOWER, "mit_hidden_size": 16, "mit_intermediate_size": 32, "mit_num_attention_heads": 2}
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
    **{name: {"frames": 4, "size": 32, "config": TINY_HF} for name in ("videomae", "timesformer", "vivit")},
    "vjepa2": {
        "frames": 4,
        "size": 32,
        "config": {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2},
    },
    "clip": {"vision": TINY_TOWER, "text": TINY_TEXT, "dim": 16},
    "siglip": {"vision": TINY_TOWER, "text": TINY_TEXT},
    "xclip": {"frames": 4, "vision": TINY_XCLIP, "text": TINY_TEXT, "dim": 16},
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
    **dict.fromkeys(("videomae", "timesformer", "vivit", "vjepa2", "clip", "siglip", "xclip"), (3, 4, 32, 32)),
}
OTHERS = (3, 16, 32, 32)


def tiny(name: str) -> tuple[dict[str, Any], tuple[int, ...]]:
    """Arguments, and `[C, T, H, W]` or `[C, T, V, M]`."""
    return TINY_ARGS.get(name, {}), TINY_SHAPES.get(name, OTHERS)
