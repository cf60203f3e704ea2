"""Loops that lead to numbers which the program reads: where sweeps give others, these loops run in order."""

import pytest
import torch
from torch import Tensor

import fxsolve

T, N = 48, 8


def chain(x: Tensor) -> Tensor:
    h, states = torch.zeros(N), []
    for x_t in x:
        h = torch.tanh(0.5 * h + x_t)
        states.append(h)
    return torch.stack(states)


def relaxed(x: Tensor) -> tuple[Tensor, Tensor]:
    """Reads a real number in every step of one loop, and nothing of the other."""
    matrix, y = torch.eye(N) + x[:N] @ x[:N].mT / 64, torch.zeros(N)
    for _ in range(300):
        y = y + 0.3 * (x[0] - matrix @ y)
        if (x[0] - matrix @ y).abs().max().item() < 1e-5:
            break
    return y, chain(x)


def settled(x: Tensor) -> tuple[Tensor, Tensor]:
    """Reads conditions of values that are smaller than what a sweep may be off by."""
    h, steps = torch.zeros(N), 0
    for x_t in x:
        new = torch.tanh(0.5 * h + 1e-8 * x_t)
        if (new - h).abs().max() > 3e-8:
            steps += 1
        h = new
    return h * steps, chain(x)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(T, N, generator=torch.Generator().manual_seed(0))


def assert_guarded_in_order(fast: fxsolve.Compiled, method: str) -> None:
    report = fast.report()
    assert report.status == "emitted"
    assert any(f"{method}(" in loop.chosen.schedule and loop.length == T for loop in report.loops)
    assert any("runs in order: what the program reads at" in note for note in report.notes)


@pytest.mark.parametrize(
    ("program", "method", "tolerance"),
    [(relaxed, "jacobi", None), (relaxed, "newton", None), (settled, "jacobi", 1e-6)],
)
def test_the_loop_that_is_read_runs_in_order_and_the_other_as_asked(program, method: str, tolerance, x: Tensor) -> None:
    fast = fxsolve.compile(program, schedule=method, tolerance=tolerance, backend="eager")
    with torch.no_grad():
        for _ in range(2):
            for found, wanted in zip(fast(x), program(x), strict=True):
                torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert_guarded_in_order(fast, method)


def test_an_automatic_choice_keeps_the_loops_that_nothing_is_read_of(x: Tensor, monkeypatch) -> None:
    monkeypatch.setattr("fxsolve.runtime.compilation.Compilation._race", lambda *_: "")
    fast = fxsolve.compile(relaxed, backend="eager")
    with torch.no_grad():
        for found, wanted in zip((fast(x), fast(x))[1], relaxed(x), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert fast.report().status == "emitted"
    assert not any("was dropped" in note for note in fast.report().notes)


def test_gradients_of_a_program_whose_loops_are_read(x: Tensor) -> None:
    def program(x: Tensor) -> Tensor:
        return sum(part.sum() for part in relaxed(x))  # pyright: ignore[reportReturnType]

    fast = fxsolve.compile(program, schedule="jacobi", backend="eager")
    for _ in range(2):
        ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
        fast(ours).backward()
        program(theirs).backward()
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-4)
    assert_guarded_in_order(fast, "jacobi")
