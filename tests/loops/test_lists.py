"""Lists that every step of a loop goes through: entry by entry they are a loop inside, and carried as one stack."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.ir.evaluate import evaluate
from fxsolve.ir.nested import loops_inside
from fxsolve.ir.spec import Lag
from fxsolve.ir.text import system_text
from fxsolve.loops.partition import partition
from fxsolve.stages import capture
from tests.loops.programs import given_values

T, L, N = 12, 16, 3

Program = Callable[[Tensor], Tensor]


def stacked_cells() -> Program:
    """L layers with states of their own, at T times: each reads its state, and the layer below."""
    layers = [nn.Linear(N, N).requires_grad_(False) for _ in range(L)]

    def program(x: Tensor) -> Tensor:
        states, last = [torch.zeros(N)] * L, []
        for x_t in x:
            y = x_t
            for k, layer in enumerate(layers):
                states[k] = y = torch.tanh(layer(y) + states[k])
            last.append(y)
        return torch.stack(last + states)

    return program


def swept(x: Tensor) -> Tensor:
    """Each entry reads its left neighbour of this sweep, and its right one of the sweep before."""
    u = list(torch.linspace(0, 1, L)[:, None] * x[0])
    for x_t in x:
        for k in range(1, L - 1):
            u[k] = 0.5 * u[k] + 0.25 * (u[k - 1] + u[k + 1]) * x_t
    return torch.stack(u)


def diffused(x: Tensor) -> Tensor:
    """Each entry reads both neighbours of the sweep before."""
    u = list(torch.linspace(0, 1, L)[:, None] * x[0])
    for _ in range(len(x)):
        inner = [u[k] + 0.1 * (u[k - 1] - 2 * u[k] + u[k + 1]) for k in range(1, L - 1)]
        u = [u[0], *inner, u[-1]]
    return torch.stack(u)


def chained(x: Tensor) -> Tensor:
    """A list of states, all of which are kept."""
    states, kept = [torch.zeros(N)] * L, []
    for x_t in x:
        y, new = x_t, []
        for state in states:
            y = torch.tanh(0.5 * state + y)
            new.append(y)
        states = new
        kept.append(states[3])
    return torch.stack(kept + states)


PROGRAMS = {"cells": stacked_cells(), "swept": swept, "diffused": diffused, "chained": chained}


@pytest.fixture
def x() -> Tensor:
    return torch.randn(T, N, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_list_is_a_loop_in_the_steps_of_one_loop_and_carried_whole(name: str, x: Tensor) -> None:
    with torch.no_grad():
        program = capture(PROGRAMS[name], x)
    system = partition(program).system
    (outer,) = system.repeats
    assert outer.length in (T, T - 1)
    assert max(inner.length for inner in loops_inside(outer)) in (L, L - 2)
    assert sum(isinstance(read, Lag) for read in outer.reads) == 1
    found = evaluate(system, given_values(program))
    assert all(map(torch.equal, found, program.example.outputs)), system_text(system)


@pytest.mark.parametrize(
    ("name", "schedule"),
    [
        *((name, "gs") for name in PROGRAMS),
        ("cells", "jacobi"),
        ("diffused", "jacobi"),
        ("swept", "newton"),
        ("chained", "auto"),
    ],
)
def test_every_schedule_gives_what_the_program_gives(name: str, schedule: str, x: Tensor) -> None:
    fast = fxsolve.compile(PROGRAMS[name], schedule=schedule, backend="eager")
    with torch.no_grad():
        for value in (x, 2 * x, x[: T - 2], x[: T - 4], x[: T - 3]):
            torch.testing.assert_close(fast(value), PROGRAMS[name](value), rtol=1e-4, atol=1e-5)
    if schedule != "auto":
        assert fast.report().status == "emitted"


@pytest.mark.parametrize("name", PROGRAMS)
def test_gradients_of_programs_with_lists(name: str, x: Tensor) -> None:
    fast = fxsolve.compile(PROGRAMS[name], schedule="gs", backend="eager")
    for factor in (1, 2):
        ours, theirs = ((factor * x).requires_grad_() for _ in range(2))
        fast(ours).sum().backward()
        PROGRAMS[name](theirs).sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5)
