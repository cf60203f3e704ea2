"""Entries that steps write, written once, against the sum of the tensors that each step would make."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx

from fxsolve.ir.bodies import OpenRepeat
from fxsolve.ir.builder import BlockBuilder
from fxsolve.ir.spec import Invariant, Read, Slices, Table
from fxsolve.ir.tensor_spec import spec_of
from fxsolve.rewrite.sums.scatter_sum import place, placed_factors

aten = torch.ops.aten
T, N = 4, 3
WHOLE = Slices("x", 0, tuple(range(T)))

Arguments = tuple[Any, ...]


def opened(rest: tuple[int, ...] | Tensor, x: Tensor, target: Any, arguments: Callable[..., Arguments]) -> Any:
    """A step target(x_t, ..) with a number or an index of the step, and the value of each step."""
    repeat = OpenRepeat("sum", T, "", fx.Graph())
    read_x = repeat.add_read("x", WHOLE, spec_of(x[0]))
    other: Read = Slices("i", 0, tuple(range(T))) if isinstance(rest, Tensor) else Table(rest)
    read_i = repeat.add_read("i", other, spec_of(rest[0]) if isinstance(rest, Tensor) else None)
    value = repeat.graph.call_function(target, arguments(read_x, read_i))
    values = [
        target(*fx.map_arg(value.args, lambda node, t=t: {read_x: x[t], read_i: rest[t]}[node])) for t in range(T)
    ]
    value.meta["spec"] = spec_of(values[0])
    return repeat, value, values


def check(rest: tuple[int, ...] | Tensor, x: Tensor, target: Any, arguments: Callable[..., Arguments]) -> None:
    repeat, value, values = opened(rest, x, target, arguments)
    factors = placed_factors(repeat, value)
    assert factors is not None
    stacks = {node: x if read is WHOLE else rest for node, read in repeat.reads.items()}
    builder = BlockBuilder("placed")
    nodes = [builder.read(node.name, spec_of(stacks[node])) for node in factors]
    builder.outputs["sum"] = place(builder, repeat, value, nodes)
    (block,) = builder.build()
    given = {node.name: stacks[node] for node in factors}
    (found,) = block.body(*(given[name] for name in block.inputs))
    torch.testing.assert_close(found, torch.stack(values).sum(0))


@pytest.mark.parametrize("index", [(0, 1, 2, 3), (3, 2, 1, 0), (4, 0, 2, 1), (1, 1, 0, 1), (-1, 0, -5, 2)], ids=str)
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_selected_entries_are_written_once_or_added_where_two_steps_have_one(index: tuple[int, ...], dim: int) -> None:
    sizes = [5, N] if dim == 0 else [N, 5]
    check(index, torch.randn(T, N), aten.select_backward.default, lambda x, i: (x, sizes, dim, i))


def window(x: Tensor, start: int) -> Tensor:
    """Two rows of eight, from either end."""
    first = start + 8 if start < 0 else start
    return aten.slice_backward.default(x, [8, N], 0, first, first + len(x), 1)


@pytest.mark.parametrize("starts", [(0, 2, 4, 6), (0, 1, 2, 3), (-2, 0, -6, 2)], ids=str)
def test_windows_are_added_where_they_overlap(starts: tuple[int, ...]) -> None:
    x = torch.randn(T, 2, N)
    repeat, value, values = opened(starts, x, window, lambda x, i: (x, i))
    read_x, read_i = value.args
    value.target, value.args = aten.slice_backward.default, (read_x, [8, N], 0, read_i, 2**63 - 1, 1)
    assert placed_factors(repeat, value) == [read_x]
    builder = BlockBuilder("placed")
    builder.outputs["sum"] = place(builder, repeat, value, [builder.read("x", spec_of(x))])
    torch.testing.assert_close(builder.build()[0].body(x)[0], torch.stack(values).sum(0))


def test_one_entry_of_all_steps_is_added_up_first() -> None:
    check((0,) * T, torch.randn(T, N), aten.select_backward.default, lambda x, i: (x, [5, N], 0, 2))


def test_the_gradient_of_an_embedding_is_that_of_all_its_tokens() -> None:
    tokens = torch.tensor([[0, 1], [1, 1], [4, 2], [2, 2]])
    for padding in (-1, 2):
        check(
            tokens,
            torch.randn(T, 2, N),
            aten.embedding_dense_backward.default,
            lambda x, i, padding=padding: (x, i, 5, padding, False),
        )


def test_what_is_no_such_tensor_has_no_factors() -> None:
    index = torch.zeros(T, 2).long()
    for rest, target, arguments in (
        ((0, 1, 0, 1), aten.select_backward.default, lambda x, i: (x, [3, 3], i, 0)),
        (index, aten.embedding_dense_backward.default, lambda x, i: (x, i, 5, -1, True)),
        ((1, 2, 3, 4), aten.mul.Tensor, lambda x, i: (x, i)),
    ):
        x = torch.randn(T, N) if target is not aten.embedding_dense_backward.default else torch.randn(T, 2, N)
        repeat, value, _ = opened(rest, x, target, arguments)
        assert placed_factors(repeat, value) is None


def test_a_cotangent_that_is_the_same_at_every_step_is_left_to_others() -> None:
    repeat, value, _ = opened(
        (0, 1, 2, 3), torch.randn(T, N), aten.select_backward.default, lambda x, i: (x, [5, N], 0, i)
    )
    (x, _) = repeat.reads
    repeat.reads[x] = Invariant("x")
    assert placed_factors(repeat, value) is None
