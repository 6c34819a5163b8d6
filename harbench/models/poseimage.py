"""Pose and image together: an image network beside the joints and whether somebody sits, stands or lies.

`posture` is plain geometry on MediaPipe's 33 or COCO's 17 landmarks; it learns nothing.
"""

from __future__ import annotations

import torch
from torch import nn

from harbench.errors import RecipeError
from harbench.models.image import image_features
from harbench.models.layers import DropoutLinear

POSTURES = ("sitting", "standing", "lying", "unknown")
JOINTS = {
    33: {"shoulder": (11, 12), "hip": (23, 24), "knee": (25, 26), "ankle": (27, 28)},
    17: {"shoulder": (5, 6), "hip": (11, 12), "knee": (13, 14), "ankle": (15, 16)},
}
"""Left and right joint, by number of landmarks: BlazePose (MediaPipe) and COCO."""
LYING = 45.0
"""Degrees from vertical beyond which the trunk lies: half way to horizontal."""
BENT = 130.0
"""Degrees at hip or knee below which a leg is bent: half way between a chair's right angle and a straight leg, less 5."""


def posture(landmarks: torch.Tensor, visible: float = 0.5) -> torch.Tensor:
    """One-hot `[..., 4]` over `POSTURES` from landmarks `[..., V, 2 or more]`, V 33 or 17, y downwards.

    Middles of left and right shoulder, hip, knee and ankle are taken in the image plane (x and y in the same unit). The
    trunk is the line from hip to shoulder; lying: more than 45 degrees off vertical. Otherwise sitting: the angle
    shoulder-hip-knee, or hip-knee-ankle where the ankles are seen, is below 130 degrees; else standing. Unknown: shoulder,
    hip or knee is not seen on either side, that is its last channel (a visibility; only if there are three channels or
    more) is below `visible`, or all its coordinates are zero, as where no pose was found.

    Raises:
        RecipeError: another number of landmarks.
    """
    if landmarks.shape[-2] not in JOINTS:
        raise RecipeError(f"posture needs 33 (MediaPipe) or 17 (COCO) landmarks, found {landmarks.shape[-2]}")
    seen = (landmarks[..., :2] != 0).any(-1)
    if landmarks.shape[-1] > 2:
        seen &= landmarks[..., -1] >= visible
    middles, there = {}, {}
    for name, sides in JOINTS[landmarks.shape[-2]].items():
        weight = seen[..., sides].unsqueeze(-1).to(landmarks.dtype)
        middles[name] = (landmarks[..., sides, :2] * weight).sum(-2) / weight.sum(-2).clamp_min(1)
        there[name] = seen[..., sides].any(-1)
    trunk = middles["shoulder"] - middles["hip"]
    known = there["shoulder"] & there["hip"] & there["knee"]
    tilt = _angle(trunk, torch.tensor([0.0, -1.0], dtype=trunk.dtype, device=trunk.device).expand_as(trunk))
    hip = _angle(trunk, middles["knee"] - middles["hip"])
    knee = _angle(middles["hip"] - middles["knee"], middles["ankle"] - middles["knee"])
    lying = tilt > LYING
    sitting = (hip < BENT) | (there["ankle"] & (knee < BENT))
    index = torch.where(lying, 2, torch.where(sitting, 0, 1))
    return nn.functional.one_hot(torch.where(known, index, 3), len(POSTURES)).to(landmarks.dtype)


class PoseImage(nn.Module):
    """Image features, two layers on the joints, and the posture, joined before the linear layer; averaged over frames."""

    def __init__(self, num_classes: int, backbone: str, joints: int, channels: int, width: int, dropout: float) -> None:
        super().__init__()
        self.joints, self.channels = joints, channels
        self.backbone, features = image_features(backbone)
        self.pose = nn.Sequential(
            nn.Linear(joints * channels, width), nn.ReLU(inplace=True), nn.Linear(width, width), nn.ReLU(inplace=True)
        )
        self.head = DropoutLinear(features + width + len(POSTURES), num_classes, dropout)

    def forward(self, frames: torch.Tensor, poses: torch.Tensor | None = None) -> torch.Tensor:
        """`[B, 3, T, H, W]` and poses `[B, C, T, V, M]` of the same frames to logits `[B, K]`.

        The first body counts. Without `poses` nobody was found: joints are zero and the posture is unknown.
        """
        batch, time = frames.shape[0], frames.shape[2]
        if poses is None:
            poses = frames.new_zeros(batch, self.channels, time, self.joints, 1)
        if poses.shape[1:4] != (self.channels, time, self.joints):
            raise RecipeError(
                f"the model expects {self.channels} channels x {time} frames x {self.joints} joints, the poses have "
                f"{' x '.join(map(str, poses.shape[1:4]))}; set model.args.channels and model.args.joints"
            )
        landmarks = poses[..., 0].permute(0, 2, 3, 1)  # [B, T, V, C]
        image = self.backbone(frames.transpose(1, 2).flatten(0, 1)).view(batch, time, -1)
        joined = torch.cat([image, self.pose(landmarks.flatten(2)), posture(landmarks)], dim=-1)
        logits: torch.Tensor = self.head(joined).mean(1)
        return logits


def pose_image(
    num_classes: int,
    backbone: str = "resnet18",
    joints: int = 33,
    channels: int = 4,
    width: int = 64,
    dropout: float = 0.2,
) -> nn.Module:
    """The two-branch network of the still-image origin project: picture, landmarks, and sitting, standing or lying.

    By default MediaPipe's 33 landmarks, x, y, z and visibility; COCO's 17 have three channels.
    """
    return PoseImage(num_classes, backbone, joints, channels, width, dropout)


def _angle(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Degrees between vectors `[..., 2]`, in 0..180; atan2 stays exact where they are parallel."""
    cross = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return torch.rad2deg(torch.atan2(cross.abs(), (a * b).sum(-1)))
