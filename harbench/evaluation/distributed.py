"""The processes of a distributed run, seen from one of them. Without torch.distributed there is one, of rank 0."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist

T = TypeVar("T")


def rank() -> int:
    """The number of this process; 0 is the one that writes."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def size() -> int:
    """How many processes work on this run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def all_reduce(tensors: Iterable[torch.Tensor]) -> None:
    """Replace each tensor by its sum over the ranks, in one exchange a type."""
    for same in _by_type(tensors):
        flat = torch.cat([tensor.reshape(-1) for tensor in same])
        dist.all_reduce(flat)
        _spread(flat, same)


def broadcast(tensors: Iterable[torch.Tensor]) -> None:
    """Replace each tensor by rank 0's."""
    for same in _by_type(tensors):
        flat = torch.cat([tensor.reshape(-1) for tensor in same])
        dist.broadcast(flat, 0)
        _spread(flat, same)


def all_reduce_array(values: npt.NDArray[np.float64], device: torch.device) -> npt.NDArray[np.float64]:
    """The sum of an array over the ranks; itself where there is one rank."""
    if size() == 1:
        return values
    shared = torch.from_numpy(values).to(device)
    dist.all_reduce(shared)
    summed: npt.NDArray[np.float64] = shared.cpu().numpy()
    return summed


def gather_dict(words: dict[int, str]) -> dict[int, str]:
    """The entries of all ranks."""
    if size() == 1:
        return words
    found: list[Any] = [None] * size()
    dist.all_gather_object(found, words)
    return {key: value for each in found for key, value in each.items()}


def broadcast_object(value: T) -> T:
    """Rank 0's value. No rank returns before rank 0 has come here."""
    if size() == 1:
        return value
    shared = [value]
    dist.broadcast_object_list(shared, 0)
    return shared[0]


def all_reduce_max(number: int) -> int:
    """The greatest number of any rank."""
    found: list[Any] = [number] * size()
    if size() > 1:
        dist.all_gather_object(found, number)
    return int(max(found))


def _by_type(tensors: Iterable[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    groups: dict[torch.dtype, list[torch.Tensor]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.dtype, []).append(tensor)
    yield from groups.values()


def _spread(flat: torch.Tensor, tensors: list[torch.Tensor]) -> None:
    for tensor, piece in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(piece.view(tensor.shape))
