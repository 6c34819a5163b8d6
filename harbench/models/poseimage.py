"""Pose and image together: an image network beside the joints and whether somebody sits, stands or lies."""

from __future__ import annotations

import torch
from torch import nn

from harbench.errors import RecipeError
from harbench.frames.posture import POSTURES, posture
from harbench.models.image import image_features
from harbench.models.layers import DropoutLinear


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
        postures = nn.functional.one_hot(posture(landmarks), len(POSTURES)).to(landmarks.dtype)
        joined = torch.cat([image, self.pose(landmarks.flatten(2)), postures], dim=-1)
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
