"""torch.fx."""

from collections.abc import Callable
from typing import Any

from torch import fx

from fxsolve.torch_compat.checks import lookup, relied_on

with relied_on():
    # Generates its code at the first call.
    from torch.fx._lazy_graph_module import _LazyGraphModule as LazyGraphModule

__all__ = ["Graph", "LazyGraphModule", "lazy_module"]

# Gives a node arguments that hold no symbolic numbers, and does not search for any.
update_arguments: Callable[[fx.Node, tuple[Any, ...], dict[str, Any]], None] = lookup(fx.Node, "_update_args_kwargs")


class Graph(fx.Graph):
    """A graph of calls whose arguments hold no symbolic numbers: none is searched for them as it is added."""

    def create_node(
        self,
        op: str,
        target: Any,
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        name: str | None = None,
        type_expr: Any = None,
    ) -> fx.Node:
        node = super().create_node(op, target, None, None, name, type_expr)
        if args or kwargs:
            update_arguments(node, args or (), kwargs or {})
        return node


def lazy_module(graph: fx.Graph, name: str) -> fx.GraphModule:
    """A module that runs the graph; as most never run, its code is generated at its first call."""
    return LazyGraphModule({}, graph, name)
