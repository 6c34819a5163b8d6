"""What a model costs: parameters, multiply-adds of one view, time of one view."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Sequence
from statistics import median

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

logger = logging.getLogger(__name__)


def count_parameters(model: nn.Module) -> int:
    """All parameters, trained or frozen; buffers (batch statistics) are not parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_flops(model: nn.Module, *input_shapes: Sequence[int], classes: int | None = None) -> int:
    """Multiply-adds of one forward pass on inputs of these shapes (without the batch axis), each counted once.

    This is how papers and torchvision's tables count ("GFLOPs" 40.7 for r3d_18 on 16x112x112); torch's counter counts
    a multiply-add as two. Nothing is computed, the pass runs on a copy of the model without storage, unless the model
    looks at values: then it runs on the CPU.

    Raises ValueError where `classes` is given and the output is not `[1, classes]`.
    """
    try:
        return _count(copy.deepcopy(model).eval().requires_grad_(False).to("meta"), input_shapes, "meta", classes)
    except (RuntimeError, NotImplementedError) as error:  # torch's words for "this needs values"
        logger.debug("FLOPs of %s are counted on the CPU: %s", type(model).__name__, error)
        return _count(copy.deepcopy(model).eval().requires_grad_(False).cpu(), input_shapes, "cpu", classes)


def _count(model: nn.Module, input_shapes: Sequence[Sequence[int]], device: str, classes: int | None) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        logits = model(*(torch.zeros(1, *shape, device=device) for shape in input_shapes))
    if classes is not None and (not isinstance(logits, torch.Tensor) or logits.shape != (1, classes)):
        found = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ValueError(f"of one view of {classes} classes expected logits [1, {classes}], found {found}")
    return int(counter.get_total_flops()) // 2


def latency(model: nn.Module, *input_shapes: Sequence[int]) -> tuple[float, str]:
    """Median milliseconds of one forward pass of one view, on the model's own device, and that device in words.

    At most nine passes after one that warms up, and no further one after a second of them.
    """
    device = next(model.parameters()).device
    on_gpu = device.type == "cuda"
    inputs = [torch.zeros(1, *shape, device=device) for shape in input_shapes]
    training = model.training
    model.eval()
    times: list[float] = []
    with torch.inference_mode():
        while len(times) < 10 and (len(times) < 2 or sum(times[1:]) < 1.0):
            started = time.perf_counter()
            model(*inputs)
            if on_gpu:
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - started)
    model.train(training)
    threads = torch.get_num_threads()
    where = torch.cuda.get_device_name(device) if on_gpu else f"CPU, {threads} thread{'s' if threads > 1 else ''}"
    return 1000 * median(times[1:]), where
