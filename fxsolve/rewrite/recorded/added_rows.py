"""A row that is written into zeros, to be added, is the gradient of a selection, which loops carry as a row.

The backward pass of `y[t] += x_t` puts the gradient of row t into zeros of the shape of y, and adds these to the rest.
"""

import torch
from torch import fx

from fxsolve.ir.builder import add_call
from fxsolve.ir.calls import dead_views, is_view
from fxsolve.rewrite.recorded.one_piece import filled_with
from fxsolve.torch_compat.graphs import Graph

aten = torch.ops.aten


def add_rows(graph: fx.Graph) -> fx.Graph:
    """A copy of `graph` with `select_backward` in the place of such writes; the graph itself if there are none."""
    writes = graph.find_nodes(op="call_function", target=aten.select_scatter.default)
    written = [node for node in writes if _is_into_zeros(node)]
    dead = dead_views(graph) if written else set()
    found = [node for node in written if _is_only_added(node, dead)]
    if not found:
        return graph
    copies: dict[fx.Node, fx.Node] = {}
    copied = Graph.copy_of(graph, copies)
    for node in map(copies.__getitem__, found):
        base, value = node.all_input_nodes
        with copied.inserting_before(node):
            args = (value, list(base.meta["spec"].shape), *node.args[2:])
            made = add_call(copied, aten.select_backward.default, args, like=node)
        unused = node if made.meta["spec"] == node.meta["spec"] else made
        unused.replace_all_uses_with(made)
        copied.erase_node(unused)
    return copied


def _is_into_zeros(node: fx.Node) -> bool:
    """Whether a write puts a row of numbers of the same type into zeros."""
    if any(isinstance(one, fx.Node) for one in node.args[2:]):
        return False
    base, value = node.all_input_nodes[0], node.all_input_nodes[-1]
    is_alike = value.meta["spec"].dtype == base.meta["spec"].dtype
    while is_view(base):
        base = base.all_input_nodes[0]
    return is_alike and filled_with(base) == 0


def _is_only_added(node: fx.Node, dead: set[fx.Node]) -> bool:
    """Whether the rows around it are zeros that nobody writes into or reads."""
    return all(user.target is aten.add.Tensor for user in node.users if user not in dead)
