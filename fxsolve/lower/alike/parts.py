"""Sums over parts of values, as a gradient that several layers give, as one call."""

import operator
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor, fx

from fxsolve.ir.builder import stand_in
from fxsolve.ir.spec import Block
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.ops.call import bind
from fxsolve.torch_compat.graphs import Graph, lazy_module

aten = torch.ops.aten
Span = tuple[int, int]


def sum_of_parts(values: Sequence[Tensor], spans: Sequence[Span], dim: int) -> Tensor:
    """values[0][start:stop] + values[1][start:stop] + ... along a dimension."""
    parts = (value.narrow(dim, start, stop - start) for value, (start, stop) in zip(values, spans, strict=True))
    return reduce(operator.add, parts)


def join_parts(block: Block) -> Block:
    """The block with each sum over parts of its inputs as one call of `sum_of_parts`, of the same bits."""
    graph = Graph()
    copied: dict[fx.Node, fx.Node] = {}
    for node in block.body.graph.nodes:
        parts = _parts_of(node) if _is_root(node) else None
        if node.op == "output":
            graph.output(fx.map_arg(node.args[0], lambda source: copied[source]))
        elif parts is not None:
            values, spans = [copied[value] for value, _ in parts[0]], tuple(span for _, span in parts[0])
            copied[node] = stand_in(graph, node, sum_of_parts, (values, spans, parts[1]))
        else:
            copied[node] = graph.node_copy(node, lambda source: copied[source])
    graph.eliminate_dead_code()
    return Block(block.name, lazy_module(graph, block.name), block.inputs, block.outputs)


def _is_root(node: fx.Node) -> bool:
    """Whether a call is a sum, or a part, that is no part of another sum."""
    if not (_is_sum(node) or _cut_of(node)):
        return False
    return len(node.users) != 1 or not _is_sum(next(iter(node.users)))


def _parts_of(root: fx.Node) -> tuple[list[tuple[fx.Node, Span]], int] | None:
    """The inputs and the spans of them that a call adds up, in order, and the dimension; None unless it is that.

    Whole inputs count as parts of themselves; one part at least is none of these.
    """
    found: list[tuple[fx.Node, Mapping[str, Any] | None]] = []
    pending = [root]
    while pending:
        node = pending.pop()
        cut = _cut_of(node)
        if cut is not None:
            found.append((cut["self"], cut))
        elif node.op == "placeholder":
            found.append((node, None))
        elif _is_sum(node) and (node is root or len(node.users) == 1):
            pending += reversed(node.args)  # pyright: ignore[reportOperatorIssue]
        else:
            return None
    dims = {cut["dim"] for _, cut in found if cut is not None}
    if len(dims) != 1 or len({node for node, _ in found}) < len(found):
        return None
    dim = next(iter(dims))
    sizes = [(node, node.meta["spec"].shape[dim], cut) for node, cut in found]
    return [(node, (cut["start"], cut["end"]) if cut else (0, size)) for node, size, cut in sizes], dim


def _cut_of(node: fx.Node) -> dict[str, Any] | None:
    """The arguments of a slice of an input, without gaps, with both ends counted from the first entry on."""
    if node.target is not aten.slice.Tensor:
        return None
    call = bind(aten.slice.Tensor, node.args, node.kwargs, node.meta.get("spec"))
    source, spec = call["self"], call["self"].meta.get("spec")
    if source.op != "placeholder" or not isinstance(spec, TensorSpec) or call["step"] != 1:
        return None
    dim = call["dim"] % len(spec.shape)
    start, end, _ = slice(call["start"], call["end"]).indices(spec.shape[dim])
    return {"self": source, "dim": dim, "start": start, "end": end} if start < end else None


def _is_sum(node: fx.Node) -> bool:
    """Whether a call adds up two tensors of one shape and type."""
    if node.target is not aten.add.Tensor or len(node.args) != 2 or node.kwargs:
        return False
    specs = [one.meta.get("spec") if isinstance(one, fx.Node) else None for one in (node, *node.args)]
    return len({(one.shape, one.dtype) if isinstance(one, TensorSpec) else None for one in specs}) == 1
