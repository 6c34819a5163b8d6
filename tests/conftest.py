"""Shared fixtures: real inputs, a closed network, temporary homes, untouched random state."""

from __future__ import annotations

import logging
import os
import random
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from toys import fenced_blocks

# Half as many examples as hypothesis draws by default, so that the suite ends in time; --hypothesis-profile=default draws all.
settings.register_profile("suite", max_examples=50, deadline=None)
settings.load_profile("suite")

# A shell starts background jobs with Ctrl-C ignored, and children inherit that: tests that interrupt need it to arrive.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real inputs, `HARBENCH_TEST_DATA`; tests that need it skip loudly without it."""
    folder = os.environ.get("HARBENCH_TEST_DATA")
    if not folder:
        pytest.skip("HARBENCH_TEST_DATA is not set: this test reads real data sets and was NOT run")
    return Path(folder)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any connection that leaves this machine is a failure of the test."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if self.family == socket.AF_UNIX or (isinstance(address, tuple) and address[0] in ("127.0.0.1", "::1")):
            return connect(self, address)  # type: ignore[arg-type]
        raise AssertionError(f"a test tried to reach {address}")

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def _random_state() -> Iterator[None]:
    """Tests leave the global generators as they found them."""
    states = random.getstate(), np.random.get_state()
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """A command line run in this process sets up logging: nothing of it stays."""
    logger = logging.getLogger("harbench")
    handlers, level = logger.handlers[:], logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own data home never leaks into a test."""
    for name in ("HARBENCH_HOME", "HARBENCH_RUNS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def toy_home(tmp_path: Path) -> Path:
    """A data home with the toy data set of CONTRIBUTING.md added as a user would, outside the checkout."""
    home = tmp_path / "home"
    text = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for name, language, code in fenced_blocks(text):
        if language == "python" and name.startswith("harbench/datasets/"):
            target = home / "datasets" / Path(name).name
        elif language == "csv" and name.endswith("samples.csv"):
            target = home / name
        else:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(code, encoding="utf-8")
    return home
