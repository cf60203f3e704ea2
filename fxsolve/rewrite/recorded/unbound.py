"""Entries of a tensor that is written entry by entry are read where they were made.

In `for x_t in x: x_t += h` functionalization unbinds all of x again after every write. But

    select_scatter(x, y, dim, i)[j]  =  y where j = i, and x[j] elsewhere,

so that each step reads an entry of x itself, or what was written there. The values are the same, bit for bit; they may
lie elsewhere in memory.
"""

import operator
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import fx

from fxsolve.ir.builder import add_call
from fxsolve.ir.calls import arguments
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.ops.access import Permuted
from fxsolve.ops.call import bind, order_of
from fxsolve.ops.facts import access_of
from fxsolve.torch_compat.graphs import Graph
from fxsolve.torch_compat.operators import OpOverload

aten = torch.ops.aten


@dataclass(frozen=True)
class _UnboundEntry:
    """Entry `index` along dimension `dim` of `node`, its other dimensions in the order `rest`; or `node` as a whole."""

    node: fx.Node
    dim: int | None
    index: int
    rest: tuple[int, ...]


def read_unbound(graph: fx.Graph) -> fx.Graph:
    """A copy of `graph` that reads items of `unbind` beneath all writes; the graph itself if none is written into."""
    if not any(len(list(_path(item))) > 1 for item in _items(graph)):
        return graph
    copied = Graph.copy_of(graph)
    paths = {item: list(_path(item)) for item in _items(copied)}
    written = {path[-1].node for path in paths.values() if len(path) > 1 and path[-1].dim is not None}
    for item, path in paths.items():
        if path[-1].node in written or path[-1].dim is None:
            item.replace_all_uses_with(_emit(copied, item, path[-1]))
    _erase_unused(copied, {call for item in paths for call in item.all_input_nodes})
    return copied


def _items(graph: fx.Graph) -> list[fx.Node]:
    """All items of calls of `unbind` that are read."""
    items = graph.find_nodes(op="call_function", target=operator.getitem)
    return [item for item in items if item.users and item.all_input_nodes[0].target is aten.unbind.int]


def _path(item: fx.Node) -> Iterator[_UnboundEntry]:
    """What an item is an entry of: first of what is unbound, then of what is below each write into it."""
    tensor, dim = arguments(item.all_input_nodes[0], None, 0)
    rank = len(tensor.meta["spec"].shape)
    rest = tuple(k for k in range(rank) if k != dim % rank)
    entry = _turn(_UnboundEntry(tensor, dim % rank, item.args[1], rest))  # pyright: ignore[reportArgumentType]
    while True:
        yield entry
        below = _below(entry)
        if below is None:
            return
        entry = _turn(below)


def _below(entry: _UnboundEntry) -> _UnboundEntry | None:
    """The same entry where it was made: what was written, or an entry of the tensor before the write."""
    if entry.dim is None or entry.node.target is not aten.select_scatter.default:
        return None
    base, value, dim, index = entry.node.args
    assert isinstance(base, fx.Node) and isinstance(value, fx.Node) and isinstance(dim, int) and isinstance(index, int)
    spec: TensorSpec = base.meta["spec"]
    if dim % len(spec.shape) != entry.dim or value.meta["spec"].dtype != spec.dtype:
        return None
    if index % spec.shape[entry.dim] != entry.index:
        return replace(entry, node=base)
    return _UnboundEntry(value, None, 0, tuple(k - (k > entry.dim) for k in entry.rest))


def _turn(entry: _UnboundEntry) -> _UnboundEntry:
    """The same entry of the tensor whose dimensions were put in another order."""
    while entry.dim is not None and _is_turn(entry.node):
        order = _order(entry.node)
        rest = tuple(order[k] for k in entry.rest)
        entry = _UnboundEntry(entry.node.all_input_nodes[0], order[entry.dim], entry.index, rest)
    return entry


def _is_turn(node: fx.Node) -> bool:
    return access_of(node.target) == Permuted()


def _order(turn: fx.Node) -> tuple[int, ...]:
    """The dimensions of the argument, in the order of those of the result."""
    assert isinstance(turn.target, OpOverload)
    spec: TensorSpec = turn.meta["spec"]
    return order_of(bind(turn.target, turn.args, turn.kwargs, spec), len(spec.shape))


def _emit(graph: fx.Graph, item: fx.Node, entry: _UnboundEntry) -> fx.Node:
    """Write what stands for `item`."""
    node, rest = entry.node, entry.rest
    with graph.inserting_before(item):
        if entry.dim is not None:
            kept = sorted(rest)
            node = add_call(graph, aten.select.int, (node, entry.dim, entry.index), like=item)
            rest = tuple(kept.index(k) for k in rest)
        if list(rest) != sorted(rest):
            node = add_call(graph, aten.permute.default, (node, list(rest)), like=item)
    return node


def _erase_unused(graph: fx.Graph, unbound: set[fx.Node]) -> None:
    """Erase what is not read any more, beginning with calls of `unbind`; what was unused before stays."""
    loose = set(unbound)
    for node in reversed(graph.nodes):
        is_loose = node in loose or (node.target is operator.getitem and node.all_input_nodes[0] in unbound)
        if is_loose and not node.users:
            loose.update(one for one in node.all_input_nodes if _is_part(one))
            graph.erase_node(node)


def _is_part(node: fx.Node) -> bool:
    targets = (operator.getitem, aten.unbind.int, aten.select_scatter.default)
    return node.target in targets or _is_turn(node)
