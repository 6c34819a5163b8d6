"""What makes a training bit-exactly repeatable: deterministic kernels, draws from (seed, step), whole steps only."""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Any

import torch

from harbench.evaluation import distributed

logger = logging.getLogger(__name__)


def seed_step(seed: int, step: int, rank: int = 0) -> None:
    """Seed torch's generators for one global step, so that dropout and the like depend on (seed, step, rank) alone."""
    digest = hashlib.sha256((f"{seed}/{step}" + (f"/{rank}" if rank else "")).encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:8], "little"))


@contextmanager
def reproducible(
    device: torch.device, on_deviation: Callable[[str], None], *, deterministic: bool = True
) -> Iterator[None]:
    """Deterministic kernels and unchanged global generators within the block.

    Where PyTorch has only a nondeterministic kernel, it is used, and its warning is passed to `on_deviation`.
    With `deterministic=False` PyTorch takes its fastest kernels, and that is the deviation.
    """
    if device.type == "cuda":
        os.environ.setdefault(
            "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
        )  # PyTorch's "Reproducibility" page; read at first use
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    benchmark, fill = torch.backends.cudnn.benchmark, memory.fill_uninitialized_memory
    show = warnings.showwarning

    def show_others(message: Warning | str, *rest: Any, **options: Any) -> None:
        if "deterministic" in str(message):
            on_deviation(str(message).splitlines()[0])
        else:
            show(message, *rest, **options)

    if not deterministic:
        on_deviation("train.deterministic: false, so kernels may add in any order")
    with warnings.catch_warnings(), torch.random.fork_rng([device] if device.type == "cuda" else []):
        warnings.filterwarnings("always", message="(?s).*deterministic")
        # a gradient scaler skips the first optimizer steps on purpose
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
        warnings.showwarning = show_others
        torch.use_deterministic_algorithms(deterministic, warn_only=True)
        torch.backends.cudnn.benchmark = not deterministic
        memory.fill_uninitialized_memory = False  # costs time, and nothing here reads such memory
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])
            torch.backends.cudnn.benchmark = benchmark
            memory.fill_uninitialized_memory = fill


@contextmanager
def interruptible() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Ctrl-C (and SIGTERM, where it is handled) between steps only: `with whole():` delays it to the end of the block.

    Within a step the weights, the batch statistics and the step count do not belong together, and a state saved then
    could not be resumed bit-exactly. Outside the main thread Python delivers no signals; of several ranks only the first
    handles them, and the others end with it.
    """
    delayed = pending = False

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal pending
        if not delayed:
            raise KeyboardInterrupt
        pending = True
        logger.info("interrupted: finishing this step first")

    @contextmanager
    def whole() -> Iterator[None]:
        nonlocal delayed
        delayed = True
        try:
            yield
        finally:
            delayed = False
        if pending:
            raise KeyboardInterrupt

    if distributed.rank() > 0 or threading.current_thread() is not threading.main_thread():
        yield whole
        return
    numbers = [signal.SIGINT] + [signal.SIGTERM] * callable(signal.getsignal(signal.SIGTERM))
    before = {number: signal.signal(number, on_interrupt) for number in numbers}
    try:
        yield whole
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
