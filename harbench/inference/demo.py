"""`demo`: a page for one person on this machine: drop a video or a picture, or use the webcam, and see what a run says.

Bound to loopback. Every request needs the token of the address; Host has to be this page's, and Origin too where there is
one, so that no other web page can post files or drive the camera. Uploads are limited in size and length, kept under names
of ours in a temporary folder, and decoded in a process that is killed when it takes too long. No path comes from a request.
"""

from __future__ import annotations

import secrets
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harbench.errors import RunError

MOST_BYTES = 200 << 20
"""Of an upload."""
MOST_SECONDS = 180.0
"""Of a video."""
PATIENCE = 300.0
"""Seconds after which a file that is not scored yet is given up."""


def demo(runs: Sequence[str], *, device: str = "auto", pose_model: Path | None = None, port: int = 0) -> Iterator[str]:
    """Serve the page until it is interrupted; the address is yielded once it can be opened.

    Raises RunError where the packages of the extra are missing, or a run has no model that can be used.
    """
    check_demo()
    from harbench.inference.page import Page
    from harbench.inference.scoring import ScoreConfig

    about, port, token = [about_run(run, device) for run in runs], port or free_port(), secrets.token_urlsafe(16)
    hosts = frozenset((f"127.0.0.1:{port}", f"localhost:{port}"))
    config = ScoreConfig(device, pose_model, MOST_SECONDS, PATIENCE)
    with tempfile.TemporaryDirectory(prefix="harbench-demo-") as folder:
        page = Page(runs, about, hosts, token, MOST_BYTES, config, Path(folder))
        with served(page.app(), port) as wait:
            yield f"http://127.0.0.1:{port}/?token={token}"
            wait()


def check_demo() -> None:
    """RunError with what to install where a package of the page is missing."""
    missing = [name for name in ("starlette", "uvicorn", "websockets") if find_spec(name) is None]
    if missing:
        raise RunError(f"this needs {', '.join(missing)}, which is not installed:  pip install 'harbench[demo]'")


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served_view(newest: Callable[[], bytes]) -> Iterator[str]:
    """A moving picture on loopback while the context is open; yields its address. Raises RunError as `demo` does."""
    check_demo()
    from harbench.inference.page import view_app

    port, token = free_port(), secrets.token_urlsafe(16)
    hosts = frozenset((f"127.0.0.1:{port}", f"localhost:{port}"))
    with served(view_app(hosts, token, newest), port):
        yield f"http://127.0.0.1:{port}/?token={token}"


@contextmanager
def served(application: Any, port: int) -> Iterator[Callable[[], None]]:
    """Serve on loopback while the context is open. Yields a function that waits until the server ends."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(application, "127.0.0.1", port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise RunError(f"port {port} cannot be served; say another --port")
        time.sleep(0.05)

    def wait() -> None:
        while thread.is_alive():
            thread.join(0.2)

    try:
        yield wait
    finally:
        server.should_exit = True
        thread.join(5)


def about_run(run: str, device: str) -> dict[str, Any]:
    """What the page says of a run: its number, its protocol, its data. Raises where it cannot be used."""
    from harbench.inference.trained import open_trained
    from harbench.runs.comparability import part_words
    from harbench.runs.folder import load_run

    opened = open_trained(run, device)
    model = opened.models[0]
    facts: dict[str, Any] = {
        "trained on": model.trained_on,
        "license": model.license or "unknown",
        "classes": [label.display for label in model.classes],
        "stream": " + ".join(dict.fromkeys(cache.stream for each in opened.models for cache in each.caches)),
        **{name.replace("_", " "): value for name, value in model.protocol.items()},
    }
    if not Path(run).is_dir():
        return {"name": run, **facts}
    record = load_run(Path(run))
    metric, ends = record.key.metric, record.intervals.get(record.key.metric)
    interval = f" (95 %: {ends[0]:.2f} to {ends[1]:.2f})" if ends else ""
    result = (
        f"{part_words('metric', metric)} {record.metrics[metric]:.2f}{interval}, {record.samples['test']} test samples"
    )
    partial = {"not ranked": record.partial} if record.partial else {}
    return {
        "name": f"{record.recipe}, {record.dataset} {record.split}",
        "result": result,
        **partial,
        **facts,
        "run": run,
    }
