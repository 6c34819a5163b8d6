"""Graph networks over joints and time. Input `[B, C, T, V, M]`; every body alone, features averaged over bodies.

The joint, bone and motion streams are `input.features`; several streams are fused as the scores of their runs. The graph
is that of the layout with as many joints (`frames.skeletons.LAYOUTS`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from harbench.errors import RecipeError
from harbench.frames.skeletons import LAYOUTS
from harbench.models.layers import DropoutLinear, check_joints

STAGES = ((64, 1), (64, 1), (64, 1), (64, 1), (128, 2), (128, 1), (128, 1), (256, 2), (256, 1), (256, 1))
"""Width and temporal stride of the ten blocks of both networks."""


class GraphNetwork(nn.Module):
    """Batch norm over joints and channels, ten blocks, a mean over time, joints and bodies, a linear layer."""

    def __init__(
        self,
        num_classes: int,
        features: tuple[int, int, int],
        block: Callable[[int, int, int, bool], nn.Module],
        dropout: float,
    ) -> None:
        super().__init__()
        self.features = features
        channels, joints, _ = features
        self.norm = nn.BatchNorm1d(channels * joints)
        self.blocks = nn.Sequential()
        for number, (width, stride) in enumerate(STAGES):
            self.blocks.append(block(channels, width, stride, number > 0))
            channels = width
        self.head = DropoutLinear(channels, num_classes, dropout)

    def forward(self, poses: torch.Tensor) -> torch.Tensor:
        """`[B, C, T, V, M]` to logits `[B, K]`."""
        check_joints(poses, self.features)
        batch, channels, time, joints, bodies = poses.shape
        flat = poses.permute(0, 4, 3, 1, 2).reshape(batch * bodies, joints * channels, time)
        maps = self.norm(flat).view(-1, joints, channels, time).permute(0, 2, 3, 1)
        pooled = self.blocks(maps).mean(dim=(2, 3)).view(batch, bodies, -1).mean(1)
        logits: torch.Tensor = self.head(pooled)
        return logits


class GraphConvolution(nn.Module):
    """A 1x1 convolution a partition, each mixed over the joints by its matrix, summed.

    `importance` keeps the graph and learns a factor an edge (ST-GCN); else the matrices are learnt from the graph on,
    and the input is added (ST-GCN++).
    """

    graph: torch.Tensor

    def __init__(self, inputs: int, outputs: int, graph: torch.Tensor, *, importance: bool) -> None:
        super().__init__()
        self.importance = nn.Parameter(torch.ones_like(graph)) if importance else None
        self.shortcut: nn.Module | None = None
        if importance:
            self.register_buffer("graph", graph.clone(), persistent=False)
        else:
            self.graph = nn.Parameter(graph.clone())
            self.shortcut = _projection(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.convolution = nn.Conv2d(inputs, outputs * len(graph), 1)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """`[N, inputs, T, V]` to `[N, outputs, T, V]`."""
        graph = self.graph if self.importance is None else self.graph * self.importance
        parts = self.convolution(maps).unflatten(1, (len(graph), -1))
        mixed = self.norm(torch.einsum("nkctv,kvw->nctw", parts, graph))
        joined: torch.Tensor = mixed if self.shortcut is None else mixed + self.shortcut(maps)
        return joined.relu()


class Block(nn.Module):
    """Graph convolution, then convolution in time, around a shortcut (the first block has none)."""

    def __init__(self, space: nn.Module, time: nn.Module, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.space, self.time, self.shortcut = space, time, shortcut

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """`[N, inputs, T, V]` to `[N, outputs, T / stride, V]`."""
        moved: torch.Tensor = self.time(self.space(maps))
        return (moved if self.shortcut is None else moved + self.shortcut(maps)).relu()


class MultiScaleTime(nn.Module):
    """Six branches in time: dilations 1 to 4, a maximum over three frames, and a 1x1 convolution; then a 1x1 over all."""

    def __init__(self, width: int, stride: int, dropout: float) -> None:
        super().__init__()
        part = width // 6
        rest = width - 5 * part
        self.branches = nn.ModuleList(
            nn.Sequential(*_entry(width, mid), in_time(mid, mid, 3, stride, dilation))
            for dilation, mid in ((1, rest), (2, part), (3, part), (4, part))
        )
        self.branches.append(nn.Sequential(*_entry(width, part), nn.MaxPool2d((3, 1), (stride, 1), (1, 0))))
        self.branches.append(nn.Conv2d(width, part, 1, (stride, 1)))
        self.merge = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 1),
            nn.BatchNorm2d(width),
            nn.Dropout(dropout),
        )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """`[N, width, T, V]` to `[N, width, T / stride, V]`."""
        merged: torch.Tensor = self.merge(torch.cat([branch(maps) for branch in self.branches], dim=1))
        return merged


def stgcn(num_classes: int, joints: int = 25, channels: int = 3, bodies: int = 2, dropout: float = 0.0) -> nn.Module:
    """ST-GCN of Yan et al. (AAAI 2018, arXiv:1801.07455), spatial partition: 3.1 M parameters on NTU RGB+D.

    Own joint, towards the trunk, away from it; a learnt factor an edge; 9 frames in time. Dropout is within the blocks.
    """
    graph = partitions(joints, each=False)

    def block(inputs: int, outputs: int, stride: int, residual: bool) -> nn.Module:
        time = nn.Sequential(in_time(outputs, outputs, 9, stride), nn.BatchNorm2d(outputs), nn.Dropout(dropout))
        around = shortcut(inputs, outputs, stride) if residual else None
        return Block(GraphConvolution(inputs, outputs, graph, importance=True), time, around)

    return GraphNetwork(num_classes, (channels, joints, bodies), block, 0.0)


def stgcnpp(num_classes: int, joints: int = 25, channels: int = 3, bodies: int = 2, dropout: float = 0.0) -> nn.Module:
    """ST-GCN++ of Duan et al., "PYSKL" (ACM MM 2022, arXiv:2205.09443): 1.39 M parameters without the head.

    The graph is where learning starts, not a mask; the convolution in time has six branches. Dropout is before the head.
    """
    graph = partitions(joints, each=True)

    def block(inputs: int, outputs: int, stride: int, residual: bool) -> nn.Module:
        around = shortcut(inputs, outputs, stride) if residual else None
        space = GraphConvolution(inputs, outputs, graph, importance=False)
        return Block(space, MultiScaleTime(outputs, stride, 0.0), around)

    return GraphNetwork(num_classes, (channels, joints, bodies), block, dropout)


def partitions(joints: int, *, each: bool) -> torch.Tensor:
    """`[3, V, V]`: own joint, towards the trunk, away from it. Columns sum to one over all three (ST-GCN) or in `each`."""
    if joints not in LAYOUTS:
        known = ", ".join(f"{number} ({layout.name})" for number, layout in LAYOUTS.items())
        raise RecipeError(f"model.args.joints: {joints}, but how they are connected is not known; expected {known}")
    own, inward = torch.eye(joints), torch.zeros(joints, joints)
    for joint, parent in enumerate(LAYOUTS[joints].parents):
        if joint != parent:
            inward[joint, parent] = 1
    parts = torch.stack([own, inward, inward.T])
    total = parts.sum(dim=1, keepdim=True) if each else parts.sum(dim=(0, 1)).expand(3, 1, joints)
    return parts / total.clamp_min(1)


def in_time(inputs: int, outputs: int, kernel: int, stride: int, dilation: int = 1) -> nn.Module:
    padding = dilation * (kernel - 1) // 2
    return nn.Conv2d(inputs, outputs, (kernel, 1), (stride, 1), (padding, 0), (dilation, 1))


def _entry(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def _projection(inputs: int, outputs: int, stride: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, (stride, 1)), nn.BatchNorm2d(outputs))


def shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    return nn.Identity() if (inputs, stride) == (outputs, 1) else _projection(inputs, outputs, stride)
