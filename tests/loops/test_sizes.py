"""The sizes of a growing loop, step by step, against the shapes that were recorded."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx

from fxsolve.ir.calls import dead_views
from fxsolve.loops.growing.sizes import MIN_STEPS, Growing, describe_growth, find_growing, rank_and_dtype
from fxsolve.loops.rolling.signature import Calls, read_calls
from fxsolve.stages import capture
from fxsolve.structure.slots import count_irregular
from tests.loops import small

T = 8


def growing_calls(program: Callable[..., object], length: int = T) -> Calls:
    graph: fx.Graph = capture(program, small.numbers(length, 3)).module.graph
    return read_calls(graph, dead_views(graph), rank_and_dtype)


def appended(x: Tensor) -> Tensor:
    sequence = x[:1]
    for x_t in x:
        weights = torch.softmax(sequence @ x_t, 0)
        sequence = torch.cat([sequence, torch.tanh(weights @ sequence)[None]])
    return sequence


def read_from_the_end(x: Tensor) -> Tensor:
    """Shrinks by one row a step."""
    h = torch.zeros(3)
    for t in range(len(x)):
        h = torch.tanh(h + (x[t:] * 0.5).sum(0))
    return h


def read_before_it_grows(x: Tensor) -> Tensor:
    """The equal calls begin with a read in front of the loop, and end with that of the last step."""
    sequence = x[:1]
    read = torch.softmax(sequence @ x[0], 0) @ sequence
    for t in range(1, len(x)):
        sequence = torch.cat([sequence, torch.tanh(read)[None]])
        read = torch.softmax(sequence @ x[t], 0) @ sequence
    return read


def doubled(x: Tensor) -> Tensor:
    sequence = x[:1]
    for _ in range(T):
        sequence = torch.sin(torch.cat([sequence, torch.cos(sequence)]))
    return sequence


def recurred(x: Tensor) -> Tensor:
    h = torch.zeros(3)
    for x_t in x:
        h = torch.tanh(h * 0.5 + x_t)
    return h


def foretold(sizes: Any, step: int) -> tuple[int, ...] | None:
    return None if sizes is None else tuple(size.at(step) for size in sizes)


def check(calls: Calls, loop: Growing) -> None:
    window = loop.window
    for call in range(window.start, window.stop):
        step, position = divmod(call - window.start, window.period)
        (given,) = loop.results[position]
        assert foretold(given, step) == calls.nodes[call].meta["spec"].shape
        read = [calls.node_of(value).meta["spec"].shape for value in calls.arguments(call)]
        assert [foretold(sizes, step) for sizes in loop.slots[position]] == read


@pytest.mark.parametrize(("program", "slope"), [(appended, 1), (read_from_the_end, -1)])
def test_every_size_at_every_step_is_the_one_recorded(program: Callable[..., object], slope: int) -> None:
    calls = growing_calls(program)
    (loop,), notes = find_growing(calls)
    assert notes == []
    assert loop.window.trips >= T - 2
    assert {size.slope for size in loop.all_sizes()} == {0, slope}
    check(calls, loop)
    assert f"grows by {slope}" in describe_growth(calls, loop)
    assert "test_sizes.py:" in describe_growth(calls, loop)


def test_steps_begin_where_the_fewest_values_are_handed_on() -> None:
    """The sequence alone, rather than it and what is about to be appended."""
    calls = growing_calls(read_before_it_grows)
    (loop,), _ = find_growing(calls)
    assert count_irregular(loop.window, *calls.reads(loop.window)) == (0, 1)
    assert loop.window.trips >= T - 1


def test_sizes_that_do_not_grow_by_the_same_amount_are_noted_with_their_line() -> None:
    found, (note,) = find_growing(growing_calls(doubled))
    assert found == []
    assert "test_sizes.py:" in note
    assert note.endswith("were not rolled: shapes change at every step, and not by the same amount")


def test_a_loop_of_constant_shapes_is_none_that_grows() -> None:
    assert find_growing(growing_calls(recurred)) == ([], [])


def test_too_few_steps_are_no_loop() -> None:
    assert find_growing(growing_calls(appended, MIN_STEPS - 1)) == ([], [])


def test_what_goes_into_buffers_already_counts_for_none() -> None:
    calls = growing_calls(appended)
    calls.nodes[len(calls.nodes) // 2].meta["buffer"] = True
    assert find_growing(calls) == ([], [])
