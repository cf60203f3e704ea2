"""Attention of one query at a time over the keys that it sees, and over no others.

Masks of stages are tables, so which keys the query of each step sees is known. Where these lie side by side, keys and
values are cut to them, and there is no mask. Compiled stages keep theirs: their shapes stay the same in all steps.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, fx

from fxsolve.ops.access import Attention
from fxsolve.ops.facts import access_of
from fxsolve.solvers.incremental import Input, Stage
from fxsolve.torch_compat.graphs import Graph

MASK = "attn_mask"


def shortened(stage: Stage) -> Stage:
    """The same stage whose queries look at what they see."""
    body = stage.body
    assert isinstance(body, fx.GraphModule)
    graph = Graph.copy_of(body.graph)
    inputs = dict(zip(graph.find_nodes(op="placeholder"), stage.slots, strict=True))
    masked = {call: mask for call in graph.nodes if (mask := _mask_of(call, inputs)) is not None}
    ranges = {mask: _range_of(stage.tables[inputs[mask].k]) for mask in masked.values()}
    numbers, added = list(stage.numbers), dict[tuple[int, ...], fx.Node]()

    def number(values: tuple[int, ...]) -> fx.Node | int:
        if len({*values}) == 1:
            return values[0]
        if values not in added:
            with graph.inserting_before(next(iter(graph.nodes))):
                added[values] = node = graph.placeholder(f"number{len(numbers)}")
            inputs[node] = Input("number", len(numbers))
            numbers.append(values)
        return added[values]

    for call, mask in masked.items():
        if (found := ranges[mask]) is not None:
            _cut(graph, call, number(found[0]), number(found[1]))
    graph.eliminate_dead_code()
    for node in graph.find_nodes(op="placeholder"):
        if not node.users:
            graph.erase_node(node)
    slots = [inputs[node] for node in graph.find_nodes(op="placeholder")]
    return Stage(fx.GraphModule(body, graph), stage.steps, slots, stage.tables, stage.constants, numbers)


def _mask_of(call: fx.Node, inputs: dict[fx.Node, Input]) -> fx.Node | None:
    """The input that alone decides which keys a call of attention sees."""
    if access_of(call.target) != Attention():
        return None
    mask = call.kwargs.get(MASK)
    sources = _sources(mask) if isinstance(mask, fx.Node) else set()
    (source, *others) = sources or {None}
    return source if source is not None and not others and inputs[source].kind == "seen" else None


def _sources(node: fx.Node) -> set[fx.Node]:
    """The inputs that a value depends on."""
    if node.op == "placeholder":
        return {node}
    return {source for one in node.all_input_nodes for source in _sources(one)}


def _range_of(table: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Where the keys that each step sees begin, and how many there are; None where others lie between them."""
    first, count = table.int().argmax(1), table.sum(1)
    places = torch.arange(table.shape[1], device=table.device)
    inside = (places >= first[:, None]) & (places < (first + count)[:, None])
    if not torch.equal(inside, table) or not bool((count > 0).all()):
        return None
    return tuple(first.tolist()), tuple(count.tolist())


def _cut(graph: fx.Graph, call: fx.Node, start: fx.Node | int, count: fx.Node | int) -> None:
    """Let a call look at `count` keys."""
    query, *pair = call.args[:3]
    with graph.inserting_before(call):
        cut: Sequence[fx.Node] = [graph.call_function(torch.narrow, (one, -2, start, count)) for one in pair]
    call.args = (query, *cut, *call.args[3:])
    call.kwargs = {name: value for name, value in call.kwargs.items() if name != MASK}
