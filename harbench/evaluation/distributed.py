"""Where a run works: one process or several, the device, and what a bit-exact repetition needs to be equal.

Of several processes (ranks) each has its own device; rank 0 takes the lock, writes and speaks, the others follow. torch
is imported inside functions: the command line starts without it.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from harbench import __version__
from harbench.errors import FollowerError, HarbenchError, RunError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch


def launched() -> bool:
    """Whether `torchrun`, or `launch`, started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ and "MASTER_ADDR" in os.environ


def is_rank_zero() -> bool:
    """Whether this process writes and speaks: there is one only, or it is the first of several."""
    return not launched() or int(os.environ["RANK"]) == 0


def launch(devices: int, arguments: Sequence[str]) -> int:
    """Run `harbench` with these arguments in as many processes and return the exit code, as `torchrun` would.

    The processes stand under torch's elastic agent: when one fails, it ends the others.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // devices)))
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the rank that failed has told why
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=devices,
        run_id=str(os.getpid()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
    )
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    try:
        elastic_launch(config, sys.executable)("-m", "harbench", *arguments)
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        return failure.exitcode if failure.exitcode > 0 else 1
    except SignalException:  # Ctrl-C or SIGTERM, which rank 0 has answered
        return 130
    finally:  # the agent leaves its own handlers of signals in place
        for number, handler in handlers.items():
            if signal.getsignal(number) != handler and handler is not None:
                signal.signal(number, handler)
    return 0


_AT_WORK = threading.RLock()


@contextmanager
def alone() -> Iterator[None]:
    """Within the block no other thread of this process trains or builds a model: the random state, and the switches that
    make torch deterministic, belong to the whole process. Raises RunError where another thread is at it.
    """
    if not _AT_WORK.acquire(blocking=False):
        raise RunError(
            "another thread of this process is training or building a model. Both would draw from one random state, and "
            "end with other weights than alone. Wait for it, or give each a process: harbench run RECIPE... --workers 2"
        )
    try:
        yield
    finally:
        _AT_WORK.release()


@contextmanager
def process_group(device: str) -> Iterator[None]:
    """Within the block the processes that `torchrun` started work together, and no other thread of this one trains.

    Gloo on CPUs, NCCL on GPUs. Log lines come from rank 0 only, and Ctrl-C and SIGTERM are rank 0's: the others end with
    it. Of an error only the first rank that has it tells; the others raise FollowerError.
    """
    if not launched():
        with alone():
            yield
        return
    import torch
    import torch.distributed as dist
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    store, rank, size = next(rendezvous("env://"))
    logger = logging.getLogger("harbench")
    level = logger.level
    if rank > 0:
        logger.setLevel(logging.CRITICAL)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
    try:
        where = choose_device(device)
        if where.type == "cuda":
            torch.cuda.set_device(where)
        backend = "cpu:gloo,cuda:nccl" if where.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=PrefixStore("group", store), rank=rank, world_size=size)
        yield
    except (HarbenchError, RuntimeError, OSError, KeyboardInterrupt) as error:
        if store.add("told", 1) > 1:
            raise FollowerError("another process of this run ended and has told why") from None
        if isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error)):
            raise RunError("another process of this run was ended from outside; the same command goes on") from None
        raise
    finally:
        logger.setLevel(level)
        if dist.is_initialized():
            dist.destroy_process_group()


def choose_device(name: str) -> torch.device:
    """`auto` is the first GPU where there is one, else the CPU. Each of several processes has a GPU of its own."""
    import torch

    if launched() and (name == "cuda" or (name == "auto" and torch.cuda.is_available())):
        own, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if own >= there:
            raise RunError(
                f"process {own + 1} has no GPU: there are {there}. Say --devices {max(1, there)} or --device cpu"
            )
        return torch.device("cuda", own)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise RunError(f"--device {name}: torch finds no CUDA GPU here; try --device cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError, ImportError):
        raise RunError(f"there is no device {name!r} here; try auto, cpu, cuda or cuda:0") from None
    return device


def environment(device: torch.device) -> dict[str, Any]:
    """What a bit-exact repetition needs to be equal: device, versions, threads."""
    import platform
    from importlib.metadata import version

    import av
    import cv2
    import numpy
    import torch

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    versions = {
        "torch": torch.__version__,
        "torchvision": version("torchvision"),  # many a model does without it, and its import takes longer than torch's
        "numpy": numpy.__version__,
        "cv2": cv2.__version__,
        "av": av.__version__,
        "python": platform.python_version(),
        "harbench": __version__,
    }
    return {"device": str(device), "device_name": name, "threads": torch.get_num_threads(), "versions": versions}


T = TypeVar("T")


def rank() -> int:
    """The number of this process; 0 is the one that writes. Without torch.distributed there is one process."""
    import torch.distributed as dist

    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def size() -> int:
    """How many processes work on this run."""
    import torch.distributed as dist

    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def all_reduce(tensors: Iterable[torch.Tensor]) -> None:
    """Replace each tensor by its sum over the ranks, in one exchange a type."""
    import torch.distributed as dist

    _exchange(tensors, dist.all_reduce)


def broadcast(tensors: Iterable[torch.Tensor]) -> None:
    """Replace each tensor by rank 0's."""
    import torch.distributed as dist

    _exchange(tensors, lambda flat: dist.broadcast(flat, 0))


def all_reduce_array(values: npt.NDArray[np.float64], device: torch.device) -> npt.NDArray[np.float64]:
    """The sum of an array over the ranks; itself where there is one rank."""
    import torch

    if size() == 1:
        return values
    shared = torch.from_numpy(values).to(device)
    torch.distributed.all_reduce(shared)
    summed: npt.NDArray[np.float64] = shared.cpu().numpy()
    return summed


def gather_dict(words: dict[int, str]) -> dict[int, str]:
    """The entries of all ranks."""
    return {key: value for each in _gathered(words) for key, value in each.items()}


def all_reduce_max(number: int) -> int:
    """The greatest number of any rank."""
    return max(_gathered(number))


def broadcast_object(value: T) -> T:
    """Rank 0's value. No rank returns before rank 0 has come here."""
    import torch.distributed as dist

    if size() == 1:
        return value
    shared = [value]
    dist.broadcast_object_list(shared, 0)
    return shared[0]


def _gathered(value: T) -> list[T]:
    """The values of all ranks, in their order."""
    import torch.distributed as dist

    found: list[Any] = [value] * size()
    if size() > 1:
        dist.all_gather_object(found, value)
    return found


def _exchange(tensors: Iterable[torch.Tensor], collective: Callable[[torch.Tensor], object]) -> None:
    """Apply a collective to the tensors in place, those of one type as one."""
    import torch

    groups: dict[torch.dtype, list[torch.Tensor]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.dtype, []).append(tensor)
    for same in groups.values():
        flat = torch.cat([tensor.reshape(-1) for tensor in same])
        collective(flat)
        for tensor, piece in zip(same, torch.split(flat, [tensor.numel() for tensor in same]), strict=True):
            tensor.copy_(piece.view(tensor.shape))
