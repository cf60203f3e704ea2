"""Rows: programs that read numbers from tensors; where the numbers differ, another version is recorded."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tests.table.row import B, Inputs, N, T, numbers, row, rows_of


def signed(k: int) -> tuple[Tensor, ...]:
    """Numbers that are all positive at odd calls and all negative at even ones."""
    x = numbers(k, T, B, N).abs() + 0.1
    return (x if k % 2 else -x,)


def counted(k: int) -> tuple[Tensor, ...]:
    return numbers(k, B, N), torch.tensor(T + k)


def timed(k: int) -> tuple[Tensor, ...]:
    """A state, and the times of all steps."""
    return numbers(k, B, N), torch.linspace(0, 1, T) * (k + 1)


def loop(x: Tensor, gain: float) -> Tensor:
    h = torch.zeros_like(x[0])
    for x_t in x:
        h = torch.tanh(h * gain + x_t)
    return h


AGAIN: dict[str, Any] = {
    "calls": (1, 2, 4),
    "recordings": 2,
}  # the guard fails at call 2, which is recorded; call 4 runs that version
SAME: dict[str, Any] = {"calls": (1, 3), "recordings": 1}


def both(inputs: Inputs, *loops: str, guards: int):
    """Two rows: the numbers that are read differ at the second call, or are the same."""

    def decorate(program):
        changing = row(inputs, *loops, guards=guards, **AGAIN)(program)
        return [changing, replace(changing, name=f"{changing.name}_as_before", **SAME)]

    return decorate


@both(signed, "6: lag 1, slices", guards=1)
def item_in_front(x: Tensor):
    return loop(x, 0.5) if (x.sum() > 0).item() else loop(x, 0.25) * 2


@row(signed, "6: lag 1, slices", guards=1, calls=(1, 3, 5, 1), recordings=2)
def item_that_differs_at_every_call(x: Tensor):
    return loop(x, 0.5) if x.mean().item() > 0 else loop(x, 0.25) * 2


@both(signed, "6: lag 1, slices", guards=1)
def truth_of_a_tensor(x: Tensor):
    return loop(x, 0.5) if (x > 0).all() else loop(x, 0.25) * 2


@both(signed, "6: lag 1, slices", "6: slices", guards=T)
def truth_of_the_state_at_every_step(x: Tensor):
    h = torch.zeros_like(x[0])
    for x_t in x:
        h = torch.tanh(h * 0.5 + x_t)
        if bool((h < 0).all()):
            h = h * 0.5
    return h


@both(signed, "6: lag 1, slices", guards=1)
def truth_of_the_result(x: Tensor):
    h = loop(x, 0.5)
    return h if h.sum() > 0 else -h


@row(counted, "7: lag 1", guards=1, calls=(1, 2, 2), recordings=2, runs=(8,))
def trip_count(x: Tensor, count: Tensor):
    for _ in range(int(count)):
        x = torch.sin(x) + 1
    return x


@row(timed, "6: lag 1, table", guards=1, calls=(1, 2, 2), recordings=2)
def tensor_iterated_as_numbers(x: Tensor, times: Tensor):
    for time in times.tolist():
        x = x + 0.1 * torch.sin(x * time)
    return x


@row(timed, "6: slices", "6: lag 1, table", guards=T, calls=(1, 2, 2), recordings=2)
def numbers_read_one_by_one(x: Tensor, times: Tensor):
    for time in times:
        x = x + 0.1 * torch.sin(x * float(time))
    return x


@row(timed, "6: lag 1, table", guards=1, calls=(1, 2, 2), recordings=2)
def numbers_of_an_array(x: Tensor, times: Tensor):
    for time in times.numpy():
        x = x + 0.1 * torch.sin(x * float(time))
    return x


@row(timed, "6: lag 1, slices")
def tensor_iterated_as_tensors(x: Tensor, times: Tensor):
    for time in times:
        x = x + 0.1 * torch.sin(x * time)
    return x


@row(
    lambda k: (numbers(k, B, N) * k,),
    "9: invariant, lag 1",
    calls=(1, 2, 3, 4, 1),
    recordings=1,
)
def until_converged(x: Tensor):
    y = torch.zeros_like(x)
    while (torch.cos(y * 0.5 + x) - y).abs().max() > 1e-3:
        y = torch.cos(y * 0.5 + x)
    return y


def ordered(k: int) -> tuple[Tensor, ...]:
    return numbers(k, T, B, N), torch.randperm(T, generator=torch.Generator().manual_seed(k))


@row(ordered, "6: slices", "6: lag 1, slices", guards=T, calls=(1, 2, 2), recordings=2)
def entries_by_a_tensor(x: Tensor, order: Tensor):
    h = torch.zeros_like(x[0])
    for t in range(T):
        h = torch.tanh(h * 0.5 + x[order[t]])
    return h


ROWS = rows_of(globals())
