"""torch.fx."""

import re
from collections.abc import Callable
from typing import Any

from torch import fx

from fxsolve.torch_compat.checks import getter, lookup, relied_on

with relied_on():
    # Generates its code at the first call.
    from torch.fx._lazy_graph_module import _LazyGraphModule as LazyGraphModule

__all__ = ["Graph", "LazyGraphModule", "find_calls", "lazy_module"]

# Gives a node arguments that hold no symbolic numbers, and does not search for any.
update_arguments: Callable[[fx.Node, tuple[Any, ...], dict[str, Any]], None] = lookup(fx.Node, "_update_args_kwargs")
_names_of: Callable[[fx.Graph], Any] = getter(fx.Graph(), "_graph_namespace")
_calls_of: Callable[[fx.Graph], Any] = getter(fx.Graph(), "_find_nodes_lookup_table")
lookup(_names_of(fx.Graph()), "_used_names")
lookup(_names_of(fx.Graph()), "_base_count")
lookup(_names_of(fx.Graph()), "_obj_to_name")
lookup(_calls_of(fx.Graph()), "table")
lookup(fx.Graph(), "_insert")
lookup(fx.Graph(), "_len")
_NUMBER = re.compile(r"_\d+$")
_NOT_IN_NAMES = re.compile("[^0-9a-zA-Z_]+")


class Graph(fx.Graph):
    """A graph of calls whose arguments hold no symbolic numbers: none is searched for them as it is added.

    What it does is what every graph does; a call costs a quarter of the time.
    """

    def __init__(self) -> None:
        super().__init__()
        names = _names_of(self)
        self._used, self._counts, self._named = names._used_names, names._base_count, names._obj_to_name
        # In generated code it is the module: a backward pass is given tensors by the names that nodes have.
        self._used.add("self")
        # By id of their targets: the hash of an operator is made in Python.
        self._places: dict[int, tuple[Any, dict[fx.Node, None]]] = {}
        self._names: dict[int, tuple[Any, str]] = {}  # what calls of a target are called, by its id
        self._numbered: set[str] = set()  # names that calls have, and others have with a number behind them

    @classmethod
    def copy_of(cls, graph: fx.Graph, copies: dict[fx.Node, fx.Node] | None = None) -> "Graph":
        """A copy with its outputs; the copy of each node is put into `copies`."""
        copied = cls()
        copies = {} if copies is None else copies
        for node in graph.nodes:
            if node.op == "output":
                copied.output(fx.map_arg(node.args[0], copies.__getitem__))
            else:
                copies[node] = copied._copy(node, copies)
        return copied

    def _copy(self, node: fx.Node, copies: dict[fx.Node, fx.Node]) -> fx.Node:
        """As `node_copy`, behind all others and under its own name, which no node of this graph has."""
        name = node.name
        if node.op != "call_function" or name in self._used:
            return self.node_copy(node, copies.__getitem__)
        base, _, digits = name.rpartition("_")
        if base and digits.isdecimal():
            self._counts[base] = int(digits)
        else:
            self._counts.setdefault(name, 0)
            self._numbered.add(name)
        self._used.add(name)
        args, kwargs = fx.map_arg((node.args, node.kwargs), copies.__getitem__)  # pyright: ignore
        made = self._append(node.target, args, kwargs, name, node.type)  # pyright: ignore
        made.meta.update(node.meta)
        return made

    def create_node(
        self,
        op: str,
        target: Any,
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        name: str | None = None,
        type_expr: Any = None,
    ) -> fx.Node:
        if op == "call_function":
            name = name or self._name_for(target)
            free = self._free_name(name) if self.owning_module is None else None
            if free is not None:
                return self._append(target, args or (), kwargs or {}, free, type_expr)
        node = super().create_node(op, target, None, None, name, type_expr)
        if args or kwargs:
            update_arguments(node, args or (), kwargs or {})
        if op == "call_function" and name is not None and not _NUMBER.search(name):
            self._numbered.add(name)
        return node

    def _name_for(self, target: Any) -> str:
        """What every graph calls the calls of a target, apart from numbers."""
        known = self._names.get(id(target))
        if known is None or known[0] is not target:
            known = self._names[id(target)] = target, _NOT_IN_NAMES.sub("_", self._target_to_str(target))
        return known[1]

    def _free_name(self, candidate: str) -> str | None:
        """The name that every graph would give, for one that needs a number or has one; None for others."""
        if candidate in self._numbered:
            base, number = candidate, self._counts[candidate] + 1
            while (name := f"{base}_{number}") in self._used:
                number += 1
        else:
            name = candidate
            base, _, digits = name.rpartition("_")
            if name in self._used or not (base and name.isascii() and name.isidentifier() and digits.isdecimal()):
                return None
            number = int(digits)
        self._used.add(name)
        self._counts[base] = number
        return name

    def _append(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], name: str, type_expr: Any) -> fx.Node:
        """As `create_node`, for a call whose name is free."""
        node = fx.Node(self, name, "call_function", target, args, kwargs, type_expr)
        self._named[node] = name
        self._insert(node)
        self._place_of(target)[node] = None
        self._len += 1
        return node

    def _place_of(self, target: Any) -> dict[fx.Node, None]:
        found = self._places.get(id(target))
        if found is None or found[0] is not target:
            found = self._places[id(target)] = target, _calls_of(self).table["call_function", target]
        return found[1]

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
            if not node.users and not (is_impure_node or _leaves_something)(node):
                self.erase_node(node)
                dead = True
        return dead


def _leaves_something(node: fx.Node) -> bool:
    """Whether a call does more than give a result; draws are inputs, so that what may draw, as attention, does not."""
    return node.is_impure(impure_random=False)


def find_calls(graph: fx.Graph, is_wanted: Callable[[Any], bool]) -> list[fx.Node]:
    """The calls of the functions that are wanted, in order; each function is asked about once, and no other call."""
    kinds = [(target, nodes) for (op, target), nodes in _calls_of(graph).table.items() if op == "call_function"]
    found = [node for target, nodes in kinds if nodes and is_wanted(target) for node in nodes]
    return sorted(found)


def lazy_module(graph: fx.Graph, name: str) -> fx.GraphModule:
    """A module that runs the graph; as most never run, its code is generated at its first call."""
    return LazyGraphModule({}, graph, name)
