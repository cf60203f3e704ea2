"""The parts of which incremental steps are made: each stage, what it asks for, what is seen, and what is tidied."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, fx

from fxsolve.ir.reads import read_order
from fxsolve.ir.spec import Prefix
from fxsolve.lower.incremental.build import incremental_program
from fxsolve.lower.incremental.moves import MovedFrom
from fxsolve.lower.incremental.needed import needed_entries
from fxsolve.lower.incremental.places import Places
from fxsolve.lower.incremental.pointwise import broadcast, same_place
from fxsolve.lower.incremental.products import attention, factor, product
from fxsolve.lower.incremental.rules import RULES
from fxsolve.lower.incremental.stage import Work, look
from fxsolve.lower.incremental.step import step_graph
from fxsolve.lower.incremental.tidy import tidy
from fxsolve.lower.incremental.values import StepFacts, StepValues
from fxsolve.lower.incremental.windows import convolution, pool
from fxsolve.ops import access
from fxsolve.ops.call import Call, bind
from fxsolve.solvers.incremental import Stage
from tests.lower.incremental.steps import RealStore, sampler

aten = torch.ops.aten
T, N = 6, 4
MIX = torch.randn(N, N)


def running_sum(x: Tensor) -> Tensor:
    """x[t + 1] = tanh(row t of tril @ x): of every step one row."""
    buffer, triangle = x.clone(), torch.ones(T, T).tril()
    for t in range(T - 1):
        buffer[t + 1] = torch.tanh(triangle @ buffer @ MIX)[t]
    return buffer


def first_step(stage: Stage, given: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """What the stage of the first step computes of what a step is given."""
    pools = {"given": given, "constant": stage.constants}
    rows = [table[0] for table in stage.tables]
    return stage.body(*(pools[slot.kind][slot.k] if slot.kind in pools else rows[slot.k] for slot in stage.slots))


@torch.no_grad()
def test_stages_come_in_steps_behind_the_first_and_the_first_is_the_whole_step() -> None:
    repeat, structural = sampler(running_sum, (torch.randn(T, N),))
    program = incremental_program(repeat, structural)
    steps = sorted({step for stage in program.stages for step in stage.steps})  # pyright: ignore
    assert steps == list(range(1, repeat.length))
    (buffer,) = (read for read in repeat.reads if isinstance(read, Prefix))
    assert program.outputs == (buffer.output,)
    step = step_graph(repeat)
    examples = [node.meta["val"] for node in step.graph.find_nodes(op="placeholder")]
    given = [torch.rand(one.shape).to(one.dtype) for one in examples]
    wanted = step(*given)[buffer.output]
    found, *rooms = first_step(program.start, [given[j] for j in read_order(repeat.reads)])
    assert torch.equal(found, wanted)
    held = [one for stage in (program.start, *program.stages) for one in stage.held]  # pyright: ignore
    assert program.memory == sum(one.numel() * one.element_size() for one in (*(room[1:] for room in rooms), *held))


def step_of(call) -> tuple[fx.GraphModule, fx.Node]:
    """A graph with one call, and what it makes, traced on examples."""
    target, *shapes = call
    graph = fx.Graph()
    nodes = [graph.placeholder(f"x{k}") for k in range(len(shapes))]
    examples = [torch.rand(shape) for shape in shapes]
    for node, example in zip(nodes, examples, strict=True):
        node.meta["val"] = example
    made = target(graph, nodes)
    graph.output((made,))
    return fx.GraphModule({}, graph), made


def call_node(graph: fx.Graph, target, *args) -> fx.Node:
    made = graph.call_function(target, args)
    made.meta["val"] = target(*fx.map_arg(args, lambda node: node.meta["val"]))
    return made


RULED = {
    "pointwise": (same_place, lambda g, x: call_node(g, aten.add.Tensor, *x), (3, 4), (4,), (1,)),
    "product": (product, lambda g, x: call_node(g, aten.mm.default, *x), (3, 4), (4, 5), (0,)),
    "convolution": (
        convolution,
        lambda g, x: call_node(g, aten.convolution.default, *x, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1),
        (1, 2, 5, 5),
        (3, 2, 3, 3),
        (2, 3),
    ),
}


def at_some(rule, made: fx.Node, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """What a rule computes at three places, and what stands there in the whole."""
    shape = made.meta["val"].shape
    count = int(np.prod([shape[dim] for dim in dims]))
    places = Places(dims, np.array([[0, count - 1, count // 2]]))
    facts = StepFacts(RULES, MovedFrom({}), {}, torch.device("cpu"))
    given = {node: node.meta["val"] for node in made.graph.find_nodes(op="placeholder")}
    values = StepValues(facts, (1,), RealStore(), given)
    example = made.meta["val"]
    call: Call = bind(made.target, made.args, made.kwargs, example)  # pyright: ignore
    found = rule(values, call, places, None)
    front = example.movedim(dims, tuple(range(len(dims)))).flatten(0, len(dims) - 1)
    return found.flatten(1), front[places.table[0]].flatten(1)


@pytest.mark.parametrize("name", RULED)
@torch.no_grad()
def test_a_rule_gives_at_places_what_stands_there_in_the_whole(name: str) -> None:
    rule, make, *shapes, dims = RULED[name]
    _, made = step_of((make, *shapes))
    torch.testing.assert_close(*at_some(rule, made, dims))


def test_every_kind_of_access_has_the_rule_of_its_own() -> None:
    assert RULES[access.SamePlace] is same_place
    assert RULES[access.Product] is product
    assert RULES[access.Attention] is attention
    assert RULES[access.Convolution] is convolution
    assert RULES[access.Pool] is pool


@torch.no_grad()
def test_what_is_broadcast_is_whole_where_it_is_the_same_at_all_places() -> None:
    _, made = step_of((lambda g, x: call_node(g, aten.add.Tensor, *x), (3, 4), (4,)))
    facts = StepFacts(RULES, MovedFrom({}), {}, torch.device("cpu"))
    _, row = made.graph.find_nodes(op="placeholder")
    values = StepValues(facts, (1,), RealStore(), {row: row.meta["val"]})
    rows = Places((0,), np.array([[0, 2]]))
    columns = Places((1,), np.array([[3, 1]]))
    assert torch.equal(broadcast(values, row, rows, (3, 4)), row.meta["val"])
    assert torch.equal(broadcast(values, row, columns, (3, 4)).flatten(), row.meta["val"][[3, 1]])
    assert torch.equal(factor(values, row, rows, (3, 4), []), row.meta["val"])


@torch.no_grad()
def test_a_stage_notes_what_it_asks_for() -> None:
    _, made = step_of((lambda g, x: call_node(g, aten.add.Tensor, *x), (3, 4), (3, 4)))
    facts = StepFacts(RULES, MovedFrom({}), {}, torch.device("cpu"))
    places = Places((0,), np.array([[0], [2]]))
    values, asked = look(Work((1, 2), {made: places}), facts)
    assert list(asked.rows) == [places.key]
    assert not values.taken  # all that it reads is given


@torch.no_grad()
def test_what_a_mask_hides_is_seen_by_nothing() -> None:
    graph = fx.Graph()
    x, mask = graph.placeholder("x"), graph.placeholder("mask")
    x.meta["val"], mask.meta["val"] = torch.rand(3), torch.tensor([True, False, True])
    first = call_node(graph, aten.sin.default, x)
    hidden = call_node(graph, aten.masked_fill.Scalar, first, mask, 0.0)
    graph.output((hidden,))
    needed = needed_entries(fx.GraphModule({}, graph), {mask: mask.meta["val"]})
    assert {node.name: seen.tolist() for node, seen in needed.items()} == {
        "sin_default": [False, True, False],
        "x": [False, True, False],
    }


@torch.no_grad()
def test_chains_of_moves_that_keep_entries_in_order_are_one_view() -> None:
    graph = fx.Graph()
    x = graph.placeholder("x")
    x.meta["val"] = torch.rand(2, 3, 1)
    wide = call_node(graph, aten.view.default, x, [6, 1])
    turned = call_node(graph, aten.permute.default, wide, [1, 0])
    back = call_node(graph, aten.view.default, turned, [2, 3, 1])
    graph.output((call_node(graph, aten.sin.default, turned), call_node(graph, aten.cos.default, back)))
    tidy(graph)
    calls = [node for node in graph.nodes if node.op == "call_function"]
    assert [node.target for node in calls] == [aten.reshape.default, aten.sin.default, aten.cos.default]
    assert calls[2].args == (x,)
    module = fx.GraphModule({}, graph)
    given = torch.rand(2, 3, 1)
    assert torch.equal(module(given)[0], given.view(1, 6).sin())
