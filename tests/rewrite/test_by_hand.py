"""Rewrites of loops, and of blocks, that are written here call by call."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx

import fxsolve
from fxsolve.ir.bodies import OpenRepeat, close_repeat
from fxsolve.ir.builder import BlockBuilder
from fxsolve.ir.evaluate import evaluate
from fxsolve.ir.spec import Block, Invariant, Lag, Slices, System, Table
from fxsolve.ir.tensor_spec import spec_of
from fxsolve.rewrite.apart import take_apart
from fxsolve.rewrite.blocks.calls import BlockCalls, cost_of, cost_of_body
from fxsolve.rewrite.blocks.flatten import flatten_joins
from fxsolve.rewrite.carried_rows import carry_rows
from fxsolve.rewrite.recorded.constants import Constants, attributes_of, makes_constants, parameters_of
from fxsolve.rewrite.row_buffers import MadeBy, RowBuffer, find_row_buffers
from fxsolve.rewrite.selected_rows import rows_at, selected_rows
from fxsolve.rewrite.stacked_rows import stack_rows
from fxsolve.torch_compat.graphs import Graph

aten = torch.ops.aten
T, N = 4, 3
BUFFER, ROW = spec_of(torch.zeros(T + 1, N)), spec_of(torch.zeros(N))


def opened(length: int = T) -> OpenRepeat:
    return OpenRepeat("loop", length, "", Graph())


def call(one: OpenRepeat, target, *args) -> fx.Node:
    made = one.graph.call_function(target, args)
    with torch.no_grad():
        values = fx.map_arg(args, lambda node: torch.zeros(node.meta["spec"].shape) if node.meta["spec"] else 0)
        made.meta["spec"] = spec_of(target(*values))
    return made


def rows_of_a_buffer(reads: tuple[int, ...], writes: tuple[int, ...]) -> tuple[OpenRepeat, fx.Node]:
    """buffer[writes[t]] += 1 + buffer[reads[t]], by rows; with the node of what is read."""
    one = opened()
    buffer = one.add_read("buffer", Lag(0, ("start",)), BUFFER)
    read, write = (one.add_read(name, Table(rows), None) for name, rows in (("read", reads), ("write", writes)))
    row = call(one, aten.select.int, buffer, 0, read)
    value = call(one, aten.add.Tensor, row, 1)
    zeros = one.graph.call_function(aten.select_backward.default, (value, [T + 1, N], 0, write))
    zeros.meta["spec"] = BUFFER
    one.feeds[buffer] = one.lasts["end"] = call(one, aten.add.Tensor, buffer, zeros)
    return one, row


def solved(blocks: list[Block], one: OpenRepeat, after: list[Block], name: str, start: Tensor) -> Tensor:
    system = System(("start",), (*blocks, close_repeat(one), *after), (name,))
    return evaluate(system, {"start": start})[0]


def test_a_row_is_a_number_or_a_table_and_counts_from_both_ends() -> None:
    one = opened()
    table, tensor = one.add_read("t", Table((3, -1, 0, 1)), None), one.add_read("i", Invariant("i"), ROW)
    assert rows_at(one, table, 5) == (3, 4, 0, 1)
    assert rows_at(one, -2, 5) == (3, 3, 3, 3)
    assert rows_at(one, tensor, 5) is None


def test_a_selection_is_one_along_the_rows() -> None:
    one = opened()
    buffer = one.add_read("buffer", Lag(0, ("start",)), BUFFER)
    table = one.add_read("t", Table((0, 1, 2, 3)), None)
    row, column = call(one, aten.select.int, buffer, 0, table), call(one, aten.select.int, buffer, 1, 2)
    assert selected_rows(one, row, buffer, 0) == (0, 1, 2, 3)
    assert selected_rows(one, column, buffer, 0) is None
    assert selected_rows(one, call(one, aten.add.Tensor, buffer, 1), buffer, 0) is None


@pytest.mark.parametrize("places", [range(4), range(3, -1, -1), range(0, 8, 2)])
def test_rows_of_all_steps_stand_where_they_were_written(places: range) -> None:
    one, after = opened(), BlockBuilder("after")
    x = one.add_read("x", Slices("x", 0, tuple(range(T))), ROW)
    value = call(one, aten.mul.Tensor, x, 2)
    whole = after.read("start", spec_of(torch.zeros(9, N)))
    after.outputs["end"] = after.call(
        aten.slice_scatter.default, whole, *stack_rows(one, after, "rows", value, places, 0)
    )
    x = torch.randn(T, N)
    system = System(("x", "start"), (close_repeat(one), *after.build()), ("end",))
    wanted = torch.zeros(9, N)
    wanted[list(places)] = 2 * x
    assert torch.equal(evaluate(system, {"x": x, "start": torch.zeros(9, N)})[0], wanted)


def found(one: OpenRepeat) -> RowBuffer:
    (buffer,) = find_row_buffers(one)
    return buffer


def test_a_buffer_knows_who_made_the_rows_that_are_read() -> None:
    one, _ = rows_of_a_buffer((0, 1, 2, 3), (1, 2, 3, 4))
    buffer = found(one)
    assert [write.rows for write in buffer.writes] == [(1, 2, 3, 4)]
    assert buffer.origin((0, 1, 2, 3)) == MadeBy(0, 1)
    assert buffer.origin((1, 2, 3, 4)) == MadeBy(-1, 0)
    assert buffer.may_be_carried()


def test_rows_that_come_from_here_and_there_are_not_carried() -> None:
    one, _ = rows_of_a_buffer((0, 1, 0, 2), (1, 2, 3, 4))
    assert not found(one).may_be_carried()


@pytest.mark.parametrize("down", [False, True])
def test_carried_rows_give_the_same_buffer(down: bool) -> None:
    reads, writes = ((4, 3, 2, 1), (3, 2, 1, 0)) if down else ((0, 1, 2, 3), (1, 2, 3, 4))
    start = torch.randn(T + 1, N)
    plain, _ = rows_of_a_buffer(reads, writes)
    one, _ = rows_of_a_buffer(reads, writes)
    before, after = carry_rows(one)
    assert not any(read.names == ("start",) for read in one.reads.values() if isinstance(read, Lag))
    assert torch.equal(solved(before, one, after, "end", start), solved([], plain, [], "end", start))


def product(order: Callable[[fx.Node, fx.Node], list[fx.Node]]) -> OpenRepeat:
    """h = cat(...) W, of a row of x and of h, in any order."""
    one, row = opened(), spec_of(torch.zeros(2, N))
    x, h = one.add_read("x", Slices("x", 0, tuple(range(T))), row), one.add_read("h", Lag(0, ("h0",)), row)
    weight = one.add_read("w", Invariant("w"), spec_of(torch.zeros(2 * N, N)))
    join = call(one, aten.cat.default, order(x, h), 1)
    one.feeds[h] = one.steps["hs"] = call(one, aten.mm.default, join, weight)
    return one


@pytest.mark.parametrize("order", [lambda x, h: [x, h], lambda x, h: [h, x]])
def test_a_product_over_a_join_is_a_sum_of_two_of_which_one_is_early(order) -> None:
    one, plain = product(order), product(order)
    take_apart(one)
    products = [node for node in one.computed() if node.target in (aten.mm.default, aten.addmm.default)]
    assert [node.target for node in products] == [aten.mm.default, aten.addmm.default]
    assert one.reads[products[0].args[0]] == Slices("x", 0, tuple(range(T)))  # pyright: ignore
    values = {
        name: torch.randn(shape).double() for name, shape in (("x", (T, 2, N)), ("h0", (2, N)), ("w", (2 * N, N)))
    }
    results = [evaluate(System(tuple(values), (close_repeat(each),), ("hs",)), values)[0] for each in (one, plain)]
    torch.testing.assert_close(*results)


def block(make: Callable[[Graph, list[fx.Node]], fx.Node], *shapes: tuple[int, ...]) -> Block:
    graph, names = Graph(), tuple(f"x{k}" for k in range(len(shapes)))
    nodes = [graph.placeholder(name) for name in names]
    for node, shape in zip(nodes, shapes, strict=True):
        node.meta["spec"] = spec_of(torch.zeros(shape))
    graph.output((make(graph, nodes),))
    return Block("net", fx.GraphModule({}, graph), names, ("y",))


def added(graph: Graph, target, *args, like: Tensor) -> fx.Node:
    made = graph.call_function(target, args)
    made.meta["spec"] = spec_of(like)
    return made


def joins_of_joins(graph: Graph, x: list[fx.Node]) -> fx.Node:
    inner = added(graph, aten.cat.default, [x[0], x[1]], 1, like=torch.zeros(2, 5))
    return added(graph, aten.cat.default, [inner, x[2]], 1, like=torch.zeros(2, 9))


def test_joins_of_joins_are_one() -> None:
    shapes = ((2, 2), (2, 3), (2, 4))
    before = block(joins_of_joins, *shapes)
    after = flatten_joins(before)
    (join,) = after.body.graph.find_nodes(op="call_function", target=aten.cat.default)
    assert [node.name for node in join.args[0]] == ["x0", "x1", "x2"]  # pyright: ignore
    values = [torch.randn(shape) for shape in shapes]
    assert torch.equal(after.body(*values)[0], before.body(*values)[0])


def test_calls_are_numbers_that_read_numbers_and_cost_their_products() -> None:
    def layers(graph: Graph, x: list[fx.Node]) -> fx.Node:
        turned = added(graph, aten.t.default, x[1], like=torch.zeros(3, 4))
        first = added(graph, aten.mm.default, x[0], turned, like=torch.zeros(2, 4))
        return added(graph, aten.tanh.default, first, like=torch.zeros(2, 4))

    one = block(layers, (2, 3), (4, 3))
    calls = BlockCalls(one, {"x1": ("first",)})
    assert [node.target for node in calls.nodes] == [aten.t.default, aten.mm.default, aten.tanh.default]
    assert calls.graph.reads == ((), (0,), (1,))
    assert calls.graph.costs == (0, 2 * 2 * 3 * 4, 0)
    assert calls.graph.paths[1] == ("first",)
    assert cost_of_body(one.body) == sum(map(cost_of, calls.nodes)) == 48


class Masked(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 3)
        self.register_buffer("mask", torch.ones(3, 3).tril())

    def forward(self, x: Tensor) -> Tensor:
        return x @ (self.layer.weight * (self.mask + 1)) + torch.rand(3)


@torch.no_grad()
def test_what_is_made_of_buffers_is_the_same_in_every_run_and_what_of_parameters_or_draws_is_not() -> None:
    program = fxsolve.capture(Masked(), torch.randn(2, 3))
    graph = program.module.graph
    constants = Constants(graph, program)
    (made,) = [node for node in graph.find_nodes(op="call_function", target=aten.add.Tensor) if node in constants]
    constants.find([made])
    assert torch.equal(constants.of(made), torch.ones(3, 3).tril() + 1)
    assert constants.rested == {"mask"}
    assert not any(node in constants for node in graph.find_nodes(op="call_function", target=aten.mul.Tensor))
    assert set(attributes_of(program)) == {"mask"}
    assert parameters_of(program) == {"layer.weight"}


def test_an_op_that_draws_or_leaves_memory_as_it_is_makes_no_constants() -> None:
    assert makes_constants(aten.add.Tensor)
    assert not makes_constants(aten.rand.default)
    assert not makes_constants(aten.empty.memory_format)
