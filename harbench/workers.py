"""Child processes, all started in one way; and Ctrl-C held back where it would leave a lock locked.

A child does not import the user's script, so a script needs no `if __name__ == "__main__"`. It hears neither Ctrl-C nor
SIGTERM: its parent answers them, and kills it. It can be started in a daemonic process too.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import context, process, resource_tracker
from types import FrameType, ModuleType
from typing import Any

SECONDS = 5.0
"""How long an end is waited for: of a child, and of a block that holds Ctrl-C back when it comes again."""
_ENDS = (signal.SIGINT, signal.SIGTERM)
_STARTING = threading.Lock()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C, and SIGTERM where it is handled alike, at the end of the block; when repeated after 5 seconds, at once.

    A KeyboardInterrupt within a queue of `multiprocessing` can leave its lock locked, and the exit waits for it forever.
    """
    if threading.current_thread() is not threading.main_thread():  # where Python delivers no signals
        yield
        return
    came: dict[int, float] = {}

    def later(number: int, frame: FrameType | None) -> None:
        if time.monotonic() - came.setdefault(number, time.monotonic()) > SECONDS:
            before[number](number, frame)

    handlers: dict[int, Any] = {number: signal.getsignal(number) for number in _ENDS}
    before = {number: handler for number, handler in handlers.items() if callable(handler)}
    try:
        for number in before:
            signal.signal(number, later)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for number in came:
        before[number](number, None)


class _Child(process.BaseProcess):
    def start(self) -> None:
        with uninterrupted(), _STARTING:
            main, parent = sys.modules["__main__"], process.current_process()._config  # type: ignore[attr-defined]
            daemonic = parent.get("daemon")
            resource_tracker.ensure_running()  # its start would unblock the signals
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)  # a child takes over what is blocked
            try:
                sys.modules["__main__"] = ModuleType("__main__")
                parent["daemon"] = (
                    False  # daemonic processes may start none, since those could outlive them; ours do not
                )
                super().start()
                self._popen.terminate = self._popen.kill  # type: ignore[attr-defined]  # it is deaf to SIGTERM
            finally:
                sys.modules["__main__"], parent["daemon"] = main, daemonic
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class _SpawnProcess(_Child, context.SpawnProcess):
    pass


class _ForkProcess(_Child, context.ForkProcess):
    pass


class _Spawn(context.SpawnContext):
    Process = _SpawnProcess


class _Fork(context.ForkContext):
    Process = _ForkProcess


SPAWN = _Spawn()
"""The usual one: the parent may hold locks of a progress bar, of OpenMP or of CUDA, which a fork would take over."""
FORK = _Fork()
"""For a process that imports torch anew would take seconds to start."""


@contextmanager
def pool(size: int, initializer: Callable[[], None] | None = None) -> Iterator[ProcessPoolExecutor]:
    """A process pool for the block. What is not done at its end is dropped."""
    executor = ProcessPoolExecutor(size, SPAWN, initializer)
    try:
        yield executor
    finally:
        children = list((executor._processes or {}).values())
        executor.shutdown(wait=False, cancel_futures=True)
        for child in children:
            child.kill()
        for child in children:
            child.join(SECONDS)
