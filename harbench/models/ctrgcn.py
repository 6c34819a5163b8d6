"""CTR-GCN: a graph network whose graph differs from channel to channel. Input `[B, C, T, V, M]`."""

from __future__ import annotations

import torch
from torch import nn

from harbench.models.stgcn import Block, GraphNetwork, in_time, partitions, shortcut


class Refinement(nn.Module):
    """Of one partition: what is added to its graph in every channel, from differences between joints (equation 4)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        relations = inputs // 8 if inputs >= 16 else 8
        self.source, self.target = nn.Conv2d(inputs, relations, 1), nn.Conv2d(inputs, relations, 1)
        self.values, self.refine = nn.Conv2d(inputs, outputs, 1), nn.Conv2d(relations, outputs, 1)

    def forward(self, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`[N, inputs, T, V]` to graphs `[N, outputs, V, V]`, output joints first, and values `[N, outputs, T, V]`."""
        source, target = self.source(maps).mean(dim=2), self.target(maps).mean(dim=2)
        differences = (source.unsqueeze(-1) - target.unsqueeze(-2)).tanh()
        return self.refine(differences), self.values(maps)


class ChannelWiseConvolution(nn.Module):
    """Three partitions summed, batch norm, a shortcut."""

    def __init__(self, inputs: int, outputs: int, graph: torch.Tensor) -> None:
        super().__init__()
        self.graph = nn.Parameter(graph.clone())
        self.strength = nn.Parameter(torch.zeros(1))
        self.parts = nn.ModuleList(Refinement(inputs, outputs) for _ in graph)
        self.norm = nn.BatchNorm2d(outputs)
        nn.init.constant_(self.norm.weight, 1e-6)  # so that training starts from the shortcut
        self.shortcut = shortcut(inputs, outputs, 1)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """`[N, inputs, T, V]` to `[N, outputs, T, V]`."""
        mixed: torch.Tensor | int = 0
        for part, graph in zip(self.parts, self.graph, strict=True):
            refined, values = part(maps)
            mixed = mixed + torch.einsum("ncuv,nctv->nctu", refined * self.strength + graph, values)
        joined: torch.Tensor = self.norm(mixed) + self.shortcut(maps)
        return joined.relu()


class TwoScaleTime(nn.Module):
    """Four branches in time: five frames at dilations 1 and 2, a maximum over three frames, and a 1x1 convolution."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        part = width // 4

        def entry() -> list[nn.Module]:
            return [nn.Conv2d(width, part, 1), nn.BatchNorm2d(part), nn.ReLU(inplace=True)]

        self.branches = nn.ModuleList(
            nn.Sequential(*entry(), in_time(part, part, 5, stride, dilation), nn.BatchNorm2d(part))
            for dilation in (1, 2)
        )
        pool = nn.MaxPool2d((3, 1), (stride, 1), (1, 0))
        self.branches.append(nn.Sequential(*entry(), pool, nn.BatchNorm2d(part)))
        self.branches.append(nn.Sequential(nn.Conv2d(width, part, 1, (stride, 1)), nn.BatchNorm2d(part)))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """`[N, width, T, V]` to `[N, width, T / stride, V]`."""
        return torch.cat([branch(maps) for branch in self.branches], dim=1)


def ctrgcn(num_classes: int, joints: int = 25, channels: int = 3, bodies: int = 2, dropout: float = 0.0) -> nn.Module:
    """CTR-GCN of Chen et al. (ICCV 2021, arXiv:2107.12213): 1.46 M parameters on NTU RGB+D 60.

    Batch norm of the input is over joints and channels, alike for every body; the authors' is of each body apart.
    """
    graph = partitions(joints, each=True)[[0, 2, 1]]  # in the order of the authors' code

    def block(inputs: int, outputs: int, stride: int, residual: bool) -> nn.Module:
        around = shortcut(inputs, outputs, stride) if residual else None
        return Block(ChannelWiseConvolution(inputs, outputs, graph), TwoScaleTime(outputs, stride), around)

    network = GraphNetwork(num_classes, (channels, joints, bodies), block, dropout)
    for module in network.blocks.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    nn.init.normal_(network.head.weight, 0, (2 / num_classes) ** 0.5)
    return network
