"""A value that is compared with one picked out of it equals it, however the loop behind both is solved."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.plan.ties import tied_loops
from fxsolve.stages import capture, partition

T, N = 24, 6

PICKS: dict[str, Callable[[Tensor], Tensor]] = {
    "amax": lambda h: h.amax(0),
    "largest": lambda h: h.max(),
    "median": lambda h: h.median(),
    "largest size": lambda h: h.norm(float("inf")),
}


def steps(number: int) -> Tensor:
    return torch.randn(T, N, generator=torch.Generator().manual_seed(number)) * 0.3


def over(pick: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def program(x: Tensor) -> Tensor:
        h, states = x[0], []
        for x_t in x:
            h = torch.tanh(pick(h) * 0.3 + x_t)
            states.append(h)
        return torch.stack(states)

    return program


def marked(x: Tensor) -> tuple[Tensor, Tensor]:
    """Marks the largest entries of each state, which it reads for the next one too."""
    h, states, marks = x[0], [], []
    for x_t in x:
        largest = h.amax(0)
        marks.append((h == largest).float())
        h = torch.tanh(largest * 0.3 + x_t)
        states.append(h)
    return torch.stack(states), torch.stack(marks)


@pytest.mark.parametrize("method", ["jacobi", "newton"])
@pytest.mark.parametrize("pick", PICKS)
def test_gradients_flow_to_the_entries_that_were_picked(pick: str, method: str) -> None:
    program = over(PICKS[pick])
    fast = fxsolve.compile(program, schedule=method, backend="eager")
    for number in range(12):
        ours, theirs = (steps(number).requires_grad_() for _ in range(2))
        fast(ours).sum().backward()
        program(theirs).sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5)
    assert fast.report().status == "emitted"
    assert any("is solved to the last bit" in note for note in fast.report().notes)


@pytest.mark.parametrize("method", ["jacobi", "newton"])
def test_a_comparison_in_the_program_itself_holds(method: str) -> None:
    fast = fxsolve.compile(marked, schedule=method, backend="eager")
    with torch.no_grad():
        for number in range(12):
            assert torch.equal(fast(steps(number))[1], marked(steps(number))[1])
    assert f"{method}(" in str(fast.schedule)


@pytest.mark.parametrize("settings", [{"tolerance": 1e-2}, {"schedule": "jacobi(loop0[0:24], atol=0.01)"}])
def test_a_tolerance_that_the_user_names_gives_way(settings: dict) -> None:
    program = over(PICKS["amax"])
    fast = fxsolve.compile(program, **{"schedule": "jacobi", "backend": "eager", **settings})
    for number in range(4):
        ours, theirs = (steps(number).requires_grad_() for _ in range(2))
        fast(ours).sum().backward()
        program(theirs).sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=0.1, atol=0.1)
    assert "jacobi(loop0[0:24], atol=0, rtol=0" in str(fast.schedule)


def test_programs_without_such_comparisons_keep_their_tolerance() -> None:
    cell = nn.GRUCell(N, N)

    def program(x: Tensor) -> Tensor:
        h = torch.zeros(1, N)
        for x_t in x:
            h = torch.maximum(cell(x_t[None], h), -h)
        return h

    assert tied_loops(partition(capture(program, steps(0).requires_grad_())).system) == {}


def test_a_loop_inside_of_a_step_is_solved_to_the_last_bit_too() -> None:
    weights = torch.randn(16, N, N, generator=torch.Generator().manual_seed(0)) * 0.5

    def layers(x: Tensor) -> tuple[Tensor, Tensor]:
        counts = []
        for weight in weights:
            h, states, picked = x[0], [], []
            for x_t in x:
                largest = h.amax(0)
                picked.append(largest.expand(N))
                states.append(h)
                h = torch.tanh(largest * 0.3 + x_t @ weight)
            counts.append((torch.stack(states) == torch.stack(picked)).sum(0))
            x = torch.tanh(torch.stack(states))
        return x, torch.stack(counts)

    fast = fxsolve.compile(layers, schedule="jacobi", backend="eager")
    with torch.no_grad():
        fast(torch.zeros(T, N))
        for number in range(4):
            assert torch.equal(fast(steps(number))[1], layers(steps(number))[1])
    assert "jacobi(loop0_loop0[0:23], atol=0, rtol=0)" in str(fast.schedule)


def test_a_value_that_is_compared_with_its_own_mean_is_no_tie() -> None:
    def program(x: Tensor) -> Tensor:
        h, states = x[0], []
        for x_t in x:
            h = torch.tanh(h * 0.3 + x_t)
            states.append(h)
        found = torch.stack(states)
        return found * (found > found.mean())

    assert tied_loops(partition(capture(program, steps(0))).system) == {}
