"""Rows of a buffer that a loop fills are read where they were made: as carries, or as they were before the loop."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import fxsolve
from fxsolve.capture.capture import capture
from fxsolve.ir.spec import Lag, Prefix, Repeat, Slices
from fxsolve.loops.partition import partition

T = 12


def loop_of(program: Callable[..., Tensor], *inputs: Tensor) -> Repeat:
    with torch.no_grad():
        (loop,) = [one for one in partition(capture(program, inputs, {})).system.repeats if one.name == "loop0"]
    return loop


def assert_same(program: Callable[..., Tensor], *inputs: Tensor) -> None:
    for schedule in ("gs", "jacobi"):
        fast = fxsolve.compile(program, backend="eager", schedule=schedule)
        with torch.no_grad():
            for _ in range(3):
                torch.testing.assert_close(fast(*inputs), program(*inputs), rtol=1e-9, atol=1e-9)
        assert fast.report().status == "emitted"


def row_before(x: Tensor) -> Tensor:
    y = x.clone()
    for t in range(1, len(x)):
        y[t] = torch.tanh(0.7 * y[t - 1]) + x[t]
    return y


def column_before(x: Tensor) -> Tensor:
    y = torch.zeros(3, len(x), dtype=x.dtype)
    for t in range(1, len(x)):
        y[:, t] = torch.tanh(y[:, t - 1]) + x[t]
    return y


def two_rows_before(x: Tensor) -> Tensor:
    y = torch.zeros(len(x) + 2, 3, dtype=x.dtype)
    for t in range(len(x)):
        y[t + 2] = x[t] + 0.6 * y[t + 1] - 0.3 * y[t]
    return y


def added_to_itself(x: Tensor) -> Tensor:
    y = x.clone()
    for t in range(1, len(x)):
        y[t] += 0.5 * torch.tanh(y[t - 1])
    return y


def from_the_last_row(x: Tensor) -> Tensor:
    y = x.clone()
    for t in reversed(range(len(x) - 1)):
        y[t] = y[t] * 0.3 + torch.sin(y[t + 1])
    return y


def far_before(x: Tensor) -> Tensor:
    y = x.clone()
    for t in range(4, len(x)):
        y[t] = torch.tanh(y[t - 4]) + 0.1 * y[t - 1]
    return y


PROGRAMS = (row_before, column_before, two_rows_before, added_to_itself, from_the_last_row, far_before)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_recurrence_through_a_buffer_carries_its_rows(program: Callable[[Tensor], Tensor]) -> None:
    x = torch.randn(T, 3, dtype=torch.float64)
    loop = loop_of(program, x)
    assert any(isinstance(read, Lag) for read in loop.reads)
    assert not any(isinstance(read, Prefix) for read in loop.reads)
    assert_same(program, x)


@pytest.mark.parametrize("schedule", ["newton", "scan"])
def test_a_filter_that_is_written_into_a_buffer_has_the_methods_of_a_carried_one(schedule: str) -> None:
    fast = fxsolve.compile(two_rows_before, backend="eager", schedule=schedule)
    x = torch.randn(40, 3, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(fast(x), two_rows_before(x))
        torch.testing.assert_close(fast(2 * x), two_rows_before(2 * x))
    assert f"{schedule}(loop0[" in str(fast.schedule)


def best_paths(x: Tensor) -> tuple[Tensor, Tensor]:
    """The values and pointers of Viterbi's algorithm; the pointers, integers, are only written."""
    v, back = torch.zeros_like(x), torch.zeros(x.shape, dtype=torch.long)
    for t in range(1, len(x)):
        best, back[t] = (v[t - 1].unsqueeze(0) + x[0].unsqueeze(1)).max(1)
        v[t] = best + x[t]
    return v, back


def backwards_into_columns(x: Tensor) -> Tensor:
    h, y = torch.zeros_like(x[0]), torch.full((3, 2 * len(x)), 7, dtype=torch.float32)
    for t in reversed(range(len(x))):
        h = torch.tanh(0.5 * h + x[t])
        y[:, 2 * t] = h
    return y


@pytest.mark.parametrize("program", [best_paths, backwards_into_columns])
def test_a_buffer_that_is_only_written_is_no_part_of_the_loop(program: Callable[..., Any]) -> None:
    x = torch.randn(T, 3, dtype=torch.float64)
    loop = loop_of(program, x)
    assert not any(isinstance(read, Prefix) for read in loop.reads)
    assert_same(program, x)
    with torch.no_grad():
        fast = fxsolve.compile(program, backend="eager", schedule="newton")
        torch.testing.assert_close(fast(x), program(x))


def test_gradients_flow_through_rows() -> None:
    for program in PROGRAMS:
        if program is from_the_last_row:
            continue  # autograd refuses it: it writes into what the sine has kept
        fast = fxsolve.compile(program, backend="eager", schedule="gs")
        for _ in range(3):
            x = torch.randn(T, 3, dtype=torch.float64, requires_grad=True)
            ours, theirs = (torch.autograd.grad(one(x).square().sum(), x)[0] for one in (fast, program))
            torch.testing.assert_close(ours, theirs)


W = torch.randn(T, T, dtype=torch.float64).tril(-1)


def given_entries(given: Tensor, u: Tensor) -> Tensor:
    x = given.clone()
    for i in range(T):
        x[:, i] = torch.where(x[:, i] < 0, torch.tanh(x @ W.T)[:, i] + u[:, i], x[:, i])
    return x


def accumulated_entries(given: Tensor, u: Tensor) -> Tensor:
    x = given.clone()
    for i in range(T):
        x[:, i] += torch.tanh(x @ W.T)[:, i] + u[:, i]
    return x


@pytest.mark.parametrize("program", [given_entries, accumulated_entries])
def test_a_step_that_reads_its_own_entry_is_causal(program: Callable[..., Tensor]) -> None:
    given, u = torch.randn(2, T, dtype=torch.float64), torch.randn(2, T, dtype=torch.float64)
    loop = loop_of(program, given, u)
    assert isinstance(loop.reads[0], Prefix)
    assert any(isinstance(read, Slices) and read.index == loop.reads[0].index for read in loop.reads)
    fast = fxsolve.compile(program, backend="eager", schedule="jacobi")
    with torch.no_grad():
        for _ in range(2):
            torch.testing.assert_close(fast(given, u), program(given, u))
    assert "jacobi(loop0[" in str(fast.schedule)
    assert fast.report().loops[-1].causal == "proved"


def test_a_step_that_reads_an_entry_of_a_later_step_reads_it_as_it_was() -> None:
    def program(x: Tensor) -> Tensor:
        y = x.clone()
        for t in range(len(x) - 1):
            y[t] = torch.tanh(y[t + 1]) + y[t]
        return y

    x = torch.randn(T, 3, dtype=torch.float64)
    assert_same(program, x)


@settings(max_examples=60, deadline=None)
@given(
    st.permutations(range(6)),
    st.lists(st.integers(0, 5), min_size=6, max_size=6),
    st.lists(st.integers(0, 5), min_size=6, max_size=6),
)
def test_any_order_of_reading_and_writing_keeps_the_values(written: list[int], one: list[int], two: list[int]) -> None:
    def program(x: Tensor) -> Tensor:
        y = x.clone()
        for w, a, b in zip(written, one, two, strict=True):
            y[w] = torch.tanh(y[a] - 0.5 * y[b]) + x[w]
        return y

    x = torch.randn(6, 2, dtype=torch.float64)
    fast = fxsolve.compile(program, backend="eager", schedule="gs")
    with torch.no_grad():
        for _ in range(2):
            assert torch.equal(fast(x), program(x))


def rows_and_columns_in_turn(x: Tensor) -> Tensor:
    y, z = x[:6].outer(x[:6]), x[:6].outer(x[6:])
    for t in range(T):
        y[t // 2] = torch.tanh(x[t] + z.select(t % 2, t // 2) + y.sum(t % 2))
    return y


def rows_and_columns_written_in_turn(x: Tensor) -> Tensor:
    y = x[:6].outer(x[:6])
    for t in range(T):
        y.select(t % 2, t // 2).copy_(torch.tanh(x[t] + x[:6]))
    return y


@pytest.mark.parametrize("program", [rows_and_columns_in_turn, rows_and_columns_written_in_turn])
def test_a_step_goes_along_the_same_dimensions_as_the_others(program: Callable[[Tensor], Tensor]) -> None:
    x = torch.randn(T, dtype=torch.float64)
    assert_same(program, x)
    assert loop_of(program, x).length == T // 2
