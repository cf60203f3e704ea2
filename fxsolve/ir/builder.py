"""Graphs that grow call by call, each of which says what its value looks like."""

from collections.abc import Mapping
from typing import Any

from torch import fx

from fxsolve.ir.bodies import add_placeholder
from fxsolve.ir.infer import infer_spec, is_known
from fxsolve.ir.spec import Block
from fxsolve.ir.tensor_spec import UNKNOWN
from fxsolve.torch_compat.graphs import Graph, lazy_module

_NO_OPTIONS: Mapping[str, Any] = {}


def add_call(
    graph: fx.Graph,
    target: Any,
    args: tuple[Any, ...],
    options: Mapping[str, Any] = _NO_OPTIONS,
    like: fx.Node | None = None,
    name: str | None = None,
) -> fx.Node:
    """A new call, with its spec where those of its arguments are known, and all else that is noted of `like`.

    Raises `PartitionError` where the call cannot be made of such arguments.
    """
    made = graph.create_node("call_function", target, args, dict(options), name)
    made.meta.update({key: value for key, value in like.meta.items() if key != "spec"} if like else {})
    if is_known(made):
        made.meta["spec"] = infer_spec(made)
    return made


def stand_in(
    graph: fx.Graph, node: fx.Node, target: Any, args: tuple[Any, ...], options: Mapping[str, Any] = _NO_OPTIONS
) -> fx.Node:
    """A new call that gives the value of `node`: all that is noted of the one is so of the other."""
    made = graph.call_function(target, args, dict(options))
    made.meta.update(node.meta)
    return made


def copy_call(graph: fx.Graph, node: fx.Node, args: tuple[Any, ...], options: Mapping[str, Any]) -> fx.Node:
    """The same call of other arguments, under its name, that gives what looks the same."""
    made = graph.create_node("call_function", node.target, args, dict(options), node.name)
    made.meta.update(node.meta)
    return made


class BlockBuilder:
    """A graph that grows call by call; reading a name for the first time makes it an input."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.graph = Graph()
        self.inputs: dict[str, fx.Node] = {}
        self.outputs: dict[str, fx.Node] = {}

    def read(self, name: str, spec: object = UNKNOWN) -> fx.Node:
        """The node of a named value: one that this block made, or an input."""
        if name in self.outputs:
            return self.outputs[name]
        if name not in self.inputs:
            self.inputs[name] = add_placeholder(self.graph, name, spec)
        return self.inputs[name]

    def call(self, target: Any, *args: Any) -> fx.Node:
        """A new value."""
        return add_call(self.graph, target, args)

    def stand_in(self, node: fx.Node, target: Any, *args: Any) -> fx.Node:
        """The value of a node of another graph."""
        return stand_in(self.graph, node, target, args)

    def build(self) -> list[Block]:
        """The block, or nothing if no value was made."""
        if not self.outputs:
            return []
        self.graph.output(tuple(self.outputs.values()))
        module = lazy_module(self.graph, self.name)
        return [Block(self.name, module, tuple(self.inputs), tuple(self.outputs))]
