"""Joins of joins: a layer that reads all earlier features reads each of them where it was made."""

from typing import Any

import torch
from torch import fx

from fxsolve.ir.builder import copy_call
from fxsolve.ir.calls import join_dim
from fxsolve.ir.spec import Block
from fxsolve.ir.strides import is_contiguous
from fxsolve.torch_compat.graphs import Graph, lazy_module

aten = torch.ops.aten


def flatten_joins(block: Block) -> Block:
    """The block with cat(cat(a, b), c) as cat(a, b, c), of the same bits; a join that is read besides stays too."""
    graph = Graph()
    copied: dict[fx.Node, fx.Node] = {}
    flat: dict[fx.Node, list[fx.Node]] = {}
    for node in block.body.graph.nodes:
        if node.op == "output":
            graph.output(fx.map_arg(node.args[0], lambda source: copied[source]))
        elif _is_plain_join(node):
            flat[node] = [piece for source in node.args[0] for piece in _pieces(source, node, flat)]
            copied[node] = copy_call(graph, node, ([copied[piece] for piece in flat[node]], *node.args[1:]), {})
        else:
            copied[node] = graph.node_copy(node, lambda source: copied[source])
    graph.eliminate_dead_code()
    return Block(block.name, lazy_module(graph, block.name), block.inputs, block.outputs)


def _is_plain_join(node: fx.Node) -> bool:
    """Whether a call joins tensors of one type that are laid out in order, as their join is then in any case."""
    if node.target is not aten.cat.default:
        return False
    sources: Any = node.args[0]
    specs: list[Any] = [source.meta.get("spec") for source in (node, *sources)]
    return None not in specs and all(spec.dtype == specs[0].dtype and is_contiguous(spec) for spec in specs)


def _pieces(source: fx.Node, node: fx.Node, flat: dict[fx.Node, list[fx.Node]]) -> list[fx.Node]:
    return flat[source] if source in flat and join_dim(source) == join_dim(node) else [source]
