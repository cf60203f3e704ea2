"""Writes that put a part back where it was read from are left out.

`y[t] += x` is in Python  part = y[t]; part += x; y[t] = part : the last line writes into y what is there.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

aten = torch.ops.aten

_SELECTED_BY: Mapping[Any, Any] = {
    aten.select_scatter.default: aten.select.int,
    aten.slice_scatter.default: aten.slice.Tensor,
}


def drop_idle_writes(graph: fx.Graph) -> fx.Graph:
    """A copy of `graph` without them; the graph itself if there are none."""
    if not any(map(_is_idle, graph.nodes)):
        return graph
    copied = fx.Graph()
    copied.output(copied.graph_copy(graph, {}))
    for node in copied.nodes:
        if _is_idle(node):
            node.replace_all_uses_with(node.all_input_nodes[0])
            copied.erase_node(node)
    return copied


def _is_idle(node: fx.Node) -> bool:
    """Whether a call is scatter(x, x[i], i)."""
    if node.target not in _SELECTED_BY:
        return False
    arguments: tuple[Any, ...] = node.args
    base, part, *place = arguments
    return part.target is _SELECTED_BY[node.target] and part.args[0] is base and list(part.args[1:]) == place
