"""Of a canvas that is read as far as it is filled, the rest may be anything: no mask changes with the step."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import fxsolve
from fxsolve.ir.spec import Prefix, System
from fxsolve.stages import capture, partition

T, V, E = 8, 5, 4
aten = torch.ops.aten

generator = torch.Generator().manual_seed(0)
TABLE, HEAD, WIDE = (torch.randn(*shape, generator=generator) for shape in ((V, E), (E, V), (1, E)))
FIRST = torch.tensor([1, 2])

Program = Callable[[Tensor], Tensor | tuple[Tensor, ...]]


def causal(x: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None], is_causal=True)[:, 0]


def token(words: Tensor) -> Tensor:
    return (causal(F.embedding(words, TABLE)) @ HEAD)[:, -1].argmax(-1)


def number(x: Tensor) -> Tensor:
    return torch.tanh((causal(x[..., None] @ WIDE) @ HEAD)[:, -1, 0])


def canvas(first: Tensor, fill: float = -1, dtype: torch.dtype = torch.long) -> Tensor:
    x = torch.full((len(first), T), fill, dtype=dtype)
    x[:, 0] = first
    return x


def columns(first: Tensor) -> Tensor:
    x = canvas(first)
    for t in range(1, T):
        x[:, t] = token(x[:, :t])
    return x


def ranges(first: Tensor) -> Tensor:
    x = torch.empty(len(first), T, dtype=torch.long)
    x[:, 0] = first
    for t in range(T - 1):
        x[:, t + 1 : t + 2] = token(x[:, : t + 1])[:, None]
    return x


def rows(first: Tensor) -> Tensor:
    x = canvas(first, fill=0).T.contiguous()
    for t in range(1, T):
        x[t] = token(x[:t].T)
    return x


def left_off(first: Tensor) -> tuple[Tensor, ...]:
    """What is not filled in the end is what it was."""
    x = canvas(first)
    for t in range(1, T - 2):
        x[:, t] = token(x[:, :t])
    return x, (x == -1).sum()


def prompted(first: Tensor) -> Tensor:
    """Some entries are given, and stay."""
    x = canvas(first)
    x[0, 3] = 4
    for t in range(1, T):
        x[:, t] = torch.where(x[:, t] >= 0, x[:, t], token(x[:, :t]))
    return x


def numbers(first: Tensor) -> Tensor:
    x = canvas(first, float("nan"), torch.float)
    for t in range(1, T):
        x[:, t] = number(x[:, :t])
    return x


def tokens_and_numbers(first: Tensor) -> tuple[Tensor, ...]:
    x, y = canvas(first), canvas(first, float("inf"), torch.float)
    for t in range(1, T):
        x[:, t] = token(x[:, :t])
        y[:, t] = number(y[:, :t]) + x[:, t]
    return x, y


def reads_ahead(first: Tensor) -> Tensor:
    """One entry is read that no step has written."""
    x = canvas(first, fill=2)
    for t in range(1, T - 1):
        x[:, t] = token(x[:, : t + 1])
    return x


def writes_ahead(first: Tensor) -> Tensor:
    """What stands behind the entries that are read is no token."""
    x = canvas(first)
    for t in range(1, T - 1):
        x[:, t] = token(x[:, :t])
        x[:, t + 1] = -5
    return x


def reads_only(first: Tensor) -> Tensor:
    """The second half is no text."""
    x = torch.cat([canvas(first, fill=3), canvas(first)], 1)
    return torch.stack([token(x[:, :t]) for t in range(1, T)])


FILLED: dict[str, Program] = {
    one.__name__: one for one in (columns, ranges, rows, left_off, prompted, numbers, tokens_and_numbers)
}
NOT_FILLED: dict[str, Program] = {one.__name__: one for one in (reads_ahead, writes_ahead)}


def masks(system: System) -> int:
    nodes = [node for repeat in system.repeats for node in repeat.body.graph.nodes]
    return sum(node.target is aten.masked_fill.Scalar for node in nodes)


@pytest.mark.parametrize("name", FILLED)
@torch.no_grad()
def test_what_is_filled_is_read_of_a_copy_without_masks(name: str) -> None:
    system = partition(capture(FILLED[name], FIRST)).system
    assert masks(system) == 0
    loop = max(system.repeats, key=lambda repeat: len(repeat.body.graph.nodes))
    assert any(isinstance(read, Prefix) for read in loop.reads)


@pytest.mark.parametrize("name", NOT_FILLED)
@torch.no_grad()
def test_what_is_not_filled_by_the_steps_themselves_is_masked(name: str) -> None:
    assert masks(partition(capture(NOT_FILLED[name], FIRST)).system) > 0


@torch.no_grad()
def test_what_no_step_writes_is_there_from_the_first_step_on() -> None:
    system = partition(capture(reads_only, FIRST)).system
    assert masks(system) == 0
    assert "loop0_shared" in [equation.name for equation in system.equations]
    fast = fxsolve.compile(reads_only, (FIRST,), backend="eager", schedule="gs")
    for first in (FIRST, torch.tensor([4, 0])):
        assert torch.equal(fast(first), reads_only(first))
    assert fast.report().status == "emitted"


@pytest.mark.parametrize("text", ["gs", "incremental"])
@pytest.mark.parametrize("name", FILLED)
@torch.no_grad()
def test_every_schedule_gives_the_canvas_of_the_program(name: str, text: str) -> None:
    program = FILLED[name]
    fast = fxsolve.compile(program, (FIRST,), backend="eager", schedule=text)
    for first in (FIRST, torch.tensor([4, 0])):
        torch.testing.assert_close(fast(first), program(first), rtol=1e-5, atol=1e-5)
    assert fast.report().status == "emitted", fast.report().reason
    assert text in str(fast.schedule)
    assert {loop.causal for loop in fast.report().loops if loop.causal} <= {"proved"}


@pytest.mark.parametrize("name", NOT_FILLED)
@torch.no_grad()
def test_where_masks_are_needed_values_are_those_of_the_program(name: str) -> None:
    program = NOT_FILLED[name]
    fast = fxsolve.compile(program, (FIRST,), backend="eager", schedule="gs")
    assert torch.equal(fast(FIRST), program(FIRST))


def grown(first: Tensor, table: Tensor) -> Tensor:
    x = first[:, None]
    for _ in range(T - 1):
        x = torch.cat((x, (causal(F.embedding(x, table)) @ HEAD)[:, -1:, 1:].argmax(-1) + 1), 1)
    return x


def written(first: Tensor, table: Tensor) -> Tensor:
    x = torch.zeros(len(first), T, dtype=torch.long)
    x[:, 0] = first
    for t in range(1, T):
        x[:, t] = (causal(F.embedding(x[:, :t], table)) @ HEAD)[:, -1, 1:].argmax(-1) + 1
    return x


@pytest.mark.parametrize("program", [grown, written])
@pytest.mark.parametrize("schedule", ["gs", "jacobi", "incremental"])
def test_a_row_that_the_program_never_looks_up_may_hold_anything(
    program: Callable[[Tensor, Tensor], Tensor], schedule: str
) -> None:
    table = TABLE.clone()
    fast = fxsolve.compile(program, schedule=schedule, backend="eager")
    with torch.no_grad():
        expected = program(FIRST, table)
        assert torch.equal(fast(FIRST, table), expected)
        table[0] = torch.nan
        assert torch.equal(fast(FIRST, table), expected)
    assert (schedule == "gs") == (schedule not in str(fast.schedule)[2:])
