"""Writes into the entries that a mask picks are written as a choice.

`x[mask] = v` with one value v is where(mask, v, x), bit for bit, which can be batched: an index that is a mask cannot,
as the number of entries that it picks is not known before.
"""

import math

import torch
from torch import fx

from fxsolve.ir.builder import add_call
from fxsolve.ir.calls import arguments
from fxsolve.ir.strides import is_contiguous
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.torch_compat.graphs import Graph

aten = torch.ops.aten


def choose_masked(graph: fx.Graph) -> fx.Graph:
    """A copy of `graph` with choices in their place; the graph itself if there are none."""
    if not any(map(_is_choice, _writes(graph))):
        return graph
    copied = Graph.copy_of(graph)
    for node in _writes(copied):
        if _is_choice(node):
            node.replace_all_uses_with(_choice(copied, node))
            copied.erase_node(node)
    return copied


def _writes(graph: fx.Graph) -> list[fx.Node]:
    return graph.find_nodes(op="call_function", target=aten.index_put.default)


def _is_choice(node: fx.Node) -> bool:
    """Whether a write puts one value where a mask is true, and it does not matter how the result lies in memory.

    What is put into an entry of another tensor is copied.
    """
    base, indices, value, adds = arguments(node, None, None, None, False)
    if adds or len(indices) != 1 or indices[0] is None:
        return False
    x, mask, one = (argument.meta["spec"] for argument in (base, indices[0], value))
    is_whole = mask.dtype == torch.bool and mask.shape == x.shape and math.prod(one.shape) == 1
    return is_whole and is_contiguous(mask) and (is_contiguous(x) or all(_puts(user, node) for user in node.users))


def _puts(user: fx.Node, value: fx.Node) -> bool:
    return user.target is aten.select_scatter.default and user.args[0] is not value


def _choice(graph: fx.Graph, node: fx.Node) -> fx.Node:
    """What stands for a write; the value that is written loses its dimensions, which are of size 1."""
    base, (mask,), value, *_ = arguments(node)
    spec: TensorSpec = value.meta["spec"]
    with graph.inserting_before(node):
        if spec.shape:
            value = add_call(graph, aten.view.default, (value, []), like=node)
        return add_call(graph, aten.where.self, (mask, value, base), like=node)
