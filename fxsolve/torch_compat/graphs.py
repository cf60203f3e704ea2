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
    """A graph of calls whose arguments hold no symbolic numbers: none is searched for them as it is added.

    What it does is what every graph does; a call costs a third of the time.
    """

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

    def node_copy(self, node: fx.Node, arg_transform: Callable[[fx.Node], Any] = lambda node: node) -> fx.Node:
        # Setting an attribute of a node looks it up in a table of operators, whose hashes are made in Python.
        args, kwargs = fx.map_arg((node.args, node.kwargs), arg_transform)  # pyright: ignore
        made = self.create_node(node.op, node.target, args, kwargs, node.name, node.type)
        made.meta.update(node.meta)
        return made

    def eliminate_dead_code(self, is_impure_node: Callable[[fx.Node], bool] | None = None) -> bool:
        # Whether a call may leave something behind is asked of those only whose results nobody reads.
        dead = False
        for node in reversed(self.nodes):
            if not node.users and not (is_impure_node or fx.Node.is_impure)(node):
                self.erase_node(node)
                dead = True
        return dead


def lazy_module(graph: fx.Graph, name: str) -> fx.GraphModule:
    """A module that runs the graph; as most never run, its code is generated at its first call."""
    return LazyGraphModule({}, graph, name)
