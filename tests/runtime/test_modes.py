"""Modes are in force in the body, in this thread, and as they were behind it, whatever the body does."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch

import fxsolve
from fxsolve.runtime.modes import as_written, plain_autograd, plain_torch, runs_as_written


def test_programs_run_as_written_in_the_body_alone() -> None:
    assert not runs_as_written()
    with as_written():
        assert runs_as_written()
        with as_written():
            assert runs_as_written()
        assert runs_as_written()
    assert not runs_as_written()


def test_an_error_in_the_body_ends_it_too() -> None:
    with pytest.raises(ValueError, match="in the body"), as_written():
        raise ValueError("in the body")
    assert not runs_as_written()


def test_another_thread_does_not_run_as_written() -> None:
    found: list[bool] = []
    with as_written():
        thread = threading.Thread(target=lambda: found.append(runs_as_written()))
        thread.start()
        thread.join()
    assert found == [False]


@torch.no_grad()
def test_a_compiled_program_runs_its_original_there() -> None:
    def program(x: torch.Tensor) -> torch.Tensor:
        for _ in range(6):
            x = torch.sin(x) + 1
        return x

    x = torch.ones(3)
    fast = fxsolve.compile(program, (x,), schedule="gs", backend="eager")
    fast(x)
    assert fast.entries[0].calls == 1
    with as_written():
        assert torch.equal(fast(x), program(x))
    assert fast.entries[0].calls == 1


@pytest.mark.parametrize("mode", [plain_torch, plain_autograd])
@pytest.mark.parametrize("enabled", [True, False])
def test_autocast_is_off_in_the_body_and_as_it_was_behind(
    mode: Callable[[], AbstractContextManager[None]], enabled: bool
) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
        with mode():
            assert not torch.is_autocast_enabled("cpu")
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
        assert torch.is_autocast_enabled("cpu") is enabled
        with pytest.raises(ValueError, match="in the body"), mode():
            raise ValueError("in the body")
        assert torch.is_autocast_enabled("cpu") is enabled


@pytest.mark.parametrize("enabled", [True, False])
def test_only_plain_torch_turns_gradients_off(enabled: bool) -> None:
    with torch.set_grad_enabled(enabled):
        with plain_torch():
            assert not torch.is_grad_enabled()
        with plain_autograd():
            assert torch.is_grad_enabled() is enabled
        assert torch.is_grad_enabled() is enabled
