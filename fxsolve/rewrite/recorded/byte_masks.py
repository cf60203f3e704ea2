"""Choices by bytes are written as choices by masks.

where(bytes, x, y), of the time before there were tensors of bools, is where(bytes != 0, x, y), bit for bit. torch runs
it, with a warning, but cannot tell the shape of its result and does not compile it.
"""

import torch
from torch import fx

from fxsolve.ir.builder import add_call
from fxsolve.ir.calls import arguments
from fxsolve.torch_compat.graphs import Graph

aten = torch.ops.aten


def mask_bytes(graph: fx.Graph) -> fx.Graph:
    """A copy of `graph` without choices by bytes; the graph itself if there are none."""
    if not any(map(_by_bytes, graph.find_nodes(op="call_function", target=aten.where.self, sort=False))):
        return graph
    copied = Graph.copy_of(graph)
    for node in copied.find_nodes(op="call_function", target=aten.where.self):
        if _by_bytes(node):
            with copied.inserting_before(node):
                node.update_arg(0, add_call(copied, aten.ne.Scalar, (node.args[0], 0), like=node))
    return copied


def _by_bytes(choice: fx.Node) -> bool:
    condition, *_ = arguments(choice)
    return condition.meta["spec"].dtype == torch.uint8
