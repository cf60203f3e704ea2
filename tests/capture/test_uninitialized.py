"""Memory that is allocated is no value of a program until something is written into it."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import fxsolve
from fxsolve.capture.record.uninitialized import Uninitialized
from fxsolve.errors import CaptureError

B, T, N = 3, 6, 4
aten = torch.ops.aten
INDEX = torch.arange(N)

# Each writes all of h into fresh memory: a functional form of a write, or one in place.
WRITES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "copy": lambda empty, h: aten.copy.default(empty, h),
    "copy_": lambda empty, h: empty.copy_(h),
    "fill": lambda empty, h: torch.fill(empty, 0.5) + h,
    "fill by a tensor": lambda empty, h: torch.fill(empty, h[0, 0]) + h,
    "zero": lambda empty, h: aten.zero.default(empty) + h,
    "like": lambda empty, h: torch.zeros_like(empty) + torch.full_like(empty, 0.5) + h,
    "new": lambda empty, h: empty.new_zeros(B, N) + empty.new_full((B, N), 0.5) + h,
    "index_copy": lambda empty, h: empty.index_copy(1, INDEX, h),
    "index_fill": lambda empty, h: empty.index_fill(1, INDEX, 2.0) * h,
    "index_put": lambda empty, h: empty.index_put((INDEX[:B],), h),
    "scatter": lambda empty, h: empty.scatter(1, INDEX.expand(B, N), h),
    "select_scatter": lambda empty, h: torch.select_scatter(empty[:, None], h, 1, 0)[:, 0],
    "slice_scatter": lambda empty, h: torch.slice_scatter(empty, h, 1),
    "diagonal_scatter": lambda empty, h: torch.diagonal_scatter(empty[:1, :1], h[:1, 0]) + h,
    "masked_scatter": lambda empty, h: empty.masked_scatter(torch.ones_like(empty, dtype=torch.bool), h),
    "out": lambda empty, h: torch.add(h, 1, out=empty),
}


@pytest.mark.parametrize("kind", WRITES)
def test_what_is_written_over_is_not_read(kind: str) -> None:
    def program(x: Tensor) -> Tensor:
        h = x[:, 0]
        for t in range(T):
            h = torch.tanh(WRITES[kind](torch.empty(B, N, dtype=x.dtype), h) * 0.5 + x[:, t])
        return h

    fast = fxsolve.compile(program, backend="eager", schedule="gs")
    with torch.no_grad():
        for _ in range(3):
            x = torch.randn(B, T, N, dtype=torch.float64)
            torch.testing.assert_close(fast(x), program(x), rtol=0, atol=0)
    assert fast.report().status == "emitted", fast.report().reason


def test_no_entries_of_it_may_be_read() -> None:
    def program(x: Tensor) -> Tensor:
        y = torch.empty_like(x)
        for t in range(T):
            y[:, t] = torch.tanh(x[:, t] - y[:, :t].sum(1))
        return y

    fast = fxsolve.compile(program, backend="eager", schedule="gs")
    x = torch.randn(B, T, N)
    torch.testing.assert_close(fast(x), program(x))
    assert fast.report().status == "emitted", fast.report().reason


@pytest.mark.parametrize("read", [lambda e: e * 0, lambda e: e.clone() + 1, lambda e: aten.copy.default(e * 1, e)])
def test_what_nothing_has_written_is_refused(read: Callable[[Tensor], Tensor]) -> None:
    def program(x: Tensor) -> Tensor:
        h = x[:, 0]
        for t in range(T):
            h = torch.tanh(h + x[:, t] + read(torch.empty(B, N)).isnan())
        return h

    fast = fxsolve.compile(program, backend="eager", schedule="gs")
    fast(torch.randn(B, T, N))
    assert "reads memory that was allocated and not written" in fast.report().reason


def noted(function, *args) -> tuple[Uninitialized, Tensor]:
    held, result = Uninitialized(), function(*args)
    held.note(function, args, result)
    return held, result


EMPTY = torch.empty(3)
ALLOCATED = [
    (aten.empty.memory_format, [3]),
    (aten.empty_like.default, EMPTY),
    (aten.empty_strided.default, [3], [1]),
    (aten.new_empty.default, EMPTY, [3]),
    (aten.new_empty_strided.default, EMPTY, [3], [1]),
]


@pytest.mark.parametrize("call", ALLOCATED)
def test_an_allocation_is_not_known_until_something_is_written_into_it(call) -> None:
    held, x = noted(*call)
    assert held
    with pytest.raises(CaptureError, match=r"aten\.neg\.default reads memory that was allocated and not written"):
        held.check(aten.neg.default, (x[1:],), {})
    with pytest.raises(CaptureError, match=r"use torch\.zeros or torch\.tensor"):
        held.check(aten.add.Tensor, (EMPTY,), {"other": x})
    held.write([x[1:]])
    assert not held
    held.check(aten.neg.default, (x,), {})


def test_a_copy_of_what_is_not_known_is_not_known_and_a_view_is_the_same_memory() -> None:
    held, x = noted(aten.empty.memory_format, [3])
    held.check(aten.clone.default, (x,), {})
    y = x.clone()
    held.note(aten.clone.default, (x,), y)
    held.check(aten.view.default, (x, [3]), {})
    held.write([x])
    assert held
    with pytest.raises(CaptureError):
        held.check(aten.neg.default, (y,), {})


def test_forms_and_targets_are_not_read_and_other_arguments_are() -> None:
    held, x = noted(aten.empty.memory_format, [3])
    held.check(aten.zeros_like.default, (x,), {})
    held.check(aten.new_ones.default, (x, [2]), {})
    held.check(aten.copy.default, (x, EMPTY), {})
    with pytest.raises(CaptureError):
        held.check(aten.copy.default, (EMPTY, x), {})


def test_other_results_and_empty_ones_are_known() -> None:
    for call in ((aten.zeros.default, [3]), (aten.empty.memory_format, [0])):
        held, _ = noted(*call)
        assert not held
