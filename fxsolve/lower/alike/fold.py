"""Layers whose first result alone is wanted, as calls that are simpler."""

import operator
from typing import Any

from torch import fx

from fxsolve.lower.alike.gradients import convolved_back, scaled_back
from fxsolve.lower.alike.norms import scaled
from fxsolve.ops.call import bind
from fxsolve.torch_compat.graphs import Graph
from fxsolve.torch_compat.operators import OpOverload

_FOLDS = (scaled, scaled_back, convolved_back)


def fold(graph: fx.Graph) -> fx.Graph:
    """A copy of the graph with norms in evaluation mode as a scale and a shift, and simple gradients."""
    folded = Graph()
    copied: dict[fx.Node, Any] = {}
    for node in graph.nodes:
        if node.op == "output":
            folded.output(fx.map_arg(node.args[0], lambda source: copied[source]))
        elif (made := _folded(folded, node, copied)) is not None:
            copied[node] = [made]
        elif node.target is operator.getitem and isinstance(copied[node.args[0]], list):
            copied[node] = copied[node.args[0]][node.args[1]]
        else:
            copied[node] = folded.node_copy(node, lambda source: copied[source])
    return folded


def _folded(graph: fx.Graph, node: fx.Node, copied: dict[fx.Node, Any]) -> fx.Node | None:
    """The first result of a call of several, of which only that is read, by simpler calls."""
    users = list(node.users)
    if not isinstance(node.target, OpOverload) or [one.target for one in users] != [operator.getitem]:
        return None
    if users[0].args[1] != 0:
        return None
    args, kwargs = fx.map_arg((node.args, node.kwargs), lambda source: copied[source])
    call = bind(node.target, args, dict(kwargs), node.meta.get("spec"))
    return next((made for made in (one(graph, call, users[0]) for one in _FOLDS) if made is not None), None)
