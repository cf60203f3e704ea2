"""Programs that read memory by strides give the same values whatever the strides are that solvers hand over."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import fxsolve

B, T, N = 2, 6, 4


def transposed(x: Tensor) -> Tensor:
    """The rows of each step, read as if they lay in memory like its columns."""
    h = x.new_zeros(N, B)
    for t in range(T):
        h = torch.sin(h + torch.tanh(x[:, t]).t().as_strided((N, B), (B, 1)))
    return h


def windows(x: Tensor) -> Tensor:
    h = x.new_zeros(B, N - 1, 2)
    for t in range(T):
        h = torch.sin(h + torch.tanh(x[:, t : t + 1]).transpose(0, 1).as_strided((B, N - 1, 2), (N, 1, 1)))
    return h


def written(x: Tensor) -> Tensor:
    h, diagonals = x.new_zeros(B, N), []
    for t in range(T):
        h = torch.sin(h + x[:, t])
        doubled = h * 2
        doubled.as_strided((B,), (N + 1,)).mul_(0.5)
        diagonals.append(doubled)
    return torch.stack(diagonals)


@pytest.mark.parametrize("schedule", ["gs", "jacobi"])
@pytest.mark.parametrize("program", [transposed, windows, written])
@torch.no_grad()
def test_strides_are_those_of_the_recording(program: Callable[[Tensor], Tensor], schedule: str) -> None:
    fast = fxsolve.compile(program, schedule=schedule, backend="eager")
    # On zeros the layout does not show in the values, so the first check cannot see it.
    for x in (torch.zeros(B, T, N), torch.randn(B, T, N)):
        torch.testing.assert_close(fast(x), program(x))
    assert fast.report().status == "emitted", fast.report().reason
    assert {"gs": "gauss_seidel"}.get(schedule, schedule) in {run.method for run in fast.report().runs}


def _shares_a_row(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return y, x[0].as_strided((2,), (1,))


def _reads_its_neighbour(x: Tensor, y: Tensor) -> Tensor:
    return y + x.exp()[0].as_strided((B, T, N), (T * N, N, 1), 0).sum(1)


@pytest.mark.parametrize("end", [_shares_a_row, _reads_its_neighbour])
@torch.no_grad()
def test_what_no_copy_can_stand_for_is_left_alone(end: Callable[..., object]) -> None:
    def program(x: Tensor) -> object:
        h = x.new_zeros(B, N)
        for t in range(T):
            h = torch.sin(h + x[:, t])
        return end(x, h)

    fast, x = fxsolve.compile(program, schedule="gs", backend="eager"), torch.randn(B, T, N)
    torch.testing.assert_close(fast(x), program(x))
    assert "reads memory that is not in its argument alone" in fast.report().reason


def test_a_cotangent_may_begin_anywhere_in_its_memory() -> None:
    """The backward pass of a write into a part of a buffer reads the buffer's cotangent by strides and offsets."""

    def program(x: Tensor) -> Tensor:
        y = torch.zeros_like(x)
        for t in range(1, T):
            y[t] = torch.tanh(y[t - 1].clone() + x[t])
        return y

    fast = fxsolve.compile(program, schedule="gs", backend="eager")
    cotangents = torch.randn(3, T, B, N)
    for cotangent in cotangents:
        x = torch.randn(T, B, N, requires_grad=True)
        found, expected = (torch.autograd.grad(run(x), x, cotangent) for run in (fast, program))
        torch.testing.assert_close(found, expected)
    assert fast.report().status == "emitted", fast.report().reason
