from __future__ import annotations

import os
import signal
import threading
import warnings

import pytest
import torch

from harbench.training.determinism import interruptible, reproducible, seed_step


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_a_step_draws_from_seed_and_step_alone() -> None:
    with torch.random.fork_rng(devices=[]):
        seed_step(1, 7)
        first = torch.rand(3)
        torch.rand(100)
        seed_step(1, 7)
        assert torch.equal(torch.rand(3), first)
        for seed, step in ((1, 8), (2, 7), (17, 0)):
            seed_step(seed, step)
            assert not torch.equal(torch.rand(3), first)


def test_held_interrupts_come_after_the_block() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), interruptible() as whole:
        with whole():
            interrupt()
            interrupt()
            done.append("first")
        done.append("never")
    assert done == ["first"]


def test_outside_the_held_block_they_come_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), interruptible() as whole:
        with whole():
            pass
        interrupt()
        pytest.fail("Ctrl-C was lost")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_in_the_held_block_is_the_error_that_is_seen() -> None:
    with pytest.raises(ZeroDivisionError), interruptible() as whole, whole():
        interrupt()
        raise ZeroDivisionError


def test_outside_the_main_thread_it_does_nothing() -> None:
    done = []

    def work() -> None:
        with interruptible() as whole, whole():
            done.append(1)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [1]


def test_settings_and_generators_are_put_back() -> None:
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), reproducible(torch.device("cpu"), print):
        assert torch.are_deterministic_algorithms_enabled()
        seed_step(0, 0)
        raise ZeroDivisionError
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_kernel_without_fixed_order_is_reported_and_other_warnings_pass() -> None:
    heard: list[str] = []
    with pytest.warns(UserWarning, match="something else"), reproducible(torch.device("cpu"), heard.append):
        warnings.warn(
            "max_pool3d_backward does not have a deterministic implementation, but", UserWarning, stacklevel=1
        )
        warnings.warn("something else", UserWarning, stacklevel=1)
    assert len(heard) == 1
    assert heard[0].startswith("max_pool3d_backward")
