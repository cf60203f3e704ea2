"""Find views, and those that nothing reads."""

import torch
from torch import fx


def dead_views(graph: fx.Graph) -> set[fx.Node]:
    """Unused views, which functionalizing leaves behind in all iterations but the first.

    Unused computations do not count: an iteration whose last result nobody reads must still look like the others.
    """
    dead: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        if is_view(node) and all(user in dead for user in node.users):
            dead.add(node)
    return dead


def is_view(node: fx.Node) -> bool:
    """Whether a call looks at a tensor in another way."""
    return isinstance(node.target, torch._ops.OpOverload) and node.target.is_view
