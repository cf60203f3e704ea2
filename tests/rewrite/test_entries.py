"""Entries that move with the step are inputs of the step, whichever way they are taken; its own are known to it."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import fxsolve
from fxsolve.ir.reads import has_carry
from fxsolve.ir.spec import Prefix, Table

T, B, N = 9, 2, 3


def read_behind_the_write(x: Tensor) -> Tensor:
    y, h = torch.zeros(T, B, N), torch.zeros(B, N)
    for t in range(T):
        y[t] = torch.tanh(h + x[t])
        h = 0.5 * y[t] - h
    return y


def read_one_wide(x: Tensor) -> Tensor:
    h, places = torch.zeros(B, N), torch.arange(T * B).view(B, T) % N
    for t in range(T):
        h = torch.tanh(h + x[t]) * torch.gather(h, 1, places[:, t : t + 1])
    return h


@pytest.mark.parametrize("program", [read_behind_the_write, read_one_wide])
def test_steps_take_no_numbers(program: Callable[[Tensor], Tensor]) -> None:
    x = torch.randn(T, B, N)
    recurrences = [one for one in fxsolve.partition(fxsolve.capture(program, x)).system.repeats if has_carry(one)]
    assert recurrences
    assert not any(isinstance(read, Table) for one in recurrences for read in one.reads)
    fast = fxsolve.compile(program, backend="eager", schedule="gs")
    for _ in range(3):
        x = torch.randn(T, B, N)
        torch.testing.assert_close(fast(x), program(x), rtol=0, atol=0)
    assert fast.report().status == "emitted"


def test_a_table_whose_edges_are_written_first_is_a_buffer() -> None:
    """The last of these writes looks like the end of a step."""

    def program(scores: Tensor) -> Tensor:
        table = torch.zeros(T, T)
        table[1:, 0] = -torch.arange(1.0, T)
        table[0, 1:] = -torch.arange(1.0, T)
        for i in range(1, T):
            for j in range(1, T):
                ways = [table[i - 1, j - 1] + scores[i, j], table[i - 1, j] - 1, table[i, j - 1] - 1]
                table[i, j] = torch.max(torch.stack(ways))
        return table[-1, -1]

    (loop,) = fxsolve.partition(fxsolve.capture(program, torch.randn(T, T))).system.repeats
    assert loop.length == (T - 1) ** 2 - 1
    assert any(isinstance(read, Prefix) for read in loop.reads)
    fast = fxsolve.compile(program, backend="eager", schedule="gs")
    for _ in range(3):
        scores = torch.randn(T, T)
        torch.testing.assert_close(fast(scores), program(scores), rtol=0, atol=0)
