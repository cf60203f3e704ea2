"""Writes that put a part back where it was read from are left out.

`y[t] += x` is in Python  part = y[t]; part += x; y[t] = part : the last line writes into y what is there.
"""

from torch import fx

from fxsolve.ops.access import Cut, Placed
from fxsolve.ops.facts import access_of, name_of
from fxsolve.torch_compat.graphs import Graph, find_calls


def drop_idle_writes(graph: fx.Graph) -> fx.Graph:
    """A copy of `graph` without them; the graph itself if there are none."""
    if not any(map(_is_idle, _writes(graph))):
        return graph
    copied = Graph.copy_of(graph)
    for node in _writes(copied):
        if _is_idle(node):
            node.replace_all_uses_with(node.all_input_nodes[0])
            copied.erase_node(node)
    return copied


def _writes(graph: fx.Graph) -> list[fx.Node]:
    return find_calls(graph, lambda target: access_of(target) == Placed())


def _is_idle(node: fx.Node) -> bool:
    """Whether a write is scatter(x, x[i], i)."""
    base, part, *place = node.args
    if not isinstance(part, fx.Node) or access_of(part.target) != Cut():
        return False
    is_inverse = name_of(node.target) == f"{name_of(part.target)}_scatter"  # pyright: ignore[reportArgumentType]
    return is_inverse and part.args[0] is base and list(part.args[1:]) == place
