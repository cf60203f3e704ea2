"""An emitted graph while it grows, and the node of every named value in it."""

from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.proxy import GraphAppendingTracer

from fxsolve.ir.spec import Block
from fxsolve.lower.arguments import Values
from fxsolve.lower.in_place import writes_of
from fxsolve.lower.readable import readable_target
from fxsolve.solvers.guard import check_guards
from fxsolve.state.names import Names
from fxsolve.torch_compat.graphs import Graph
from fxsolve.torch_compat.trees import pytree


class Emission:
    """Collects the nodes and attributes of one emitted module; `values` has the node of every named value.

    Several names may be one node: a tensor of theirs in `stacks`, a tuple of theirs in `lists`.
    """

    def __init__(self) -> None:
        self.graph = Graph()
        self.attributes: dict[str, Any] = {}
        self.values: dict[str, fx.Node] = {}
        self.stacks: dict[tuple[str, ...], fx.Node] = {}
        self.lists: dict[tuple[str, ...], fx.Node] = {}
        self._names = Names()

    def open_values(self, names: tuple[str, ...]) -> None:
        """One placeholder for each of the named values."""
        for name in names:
            self.values[name] = self.graph.placeholder(name)

    def make_contiguous(self) -> None:
        """Lay out all values in order and without gaps."""
        for name, node in self.values.items():
            self.values[name] = self.call(torch.ops.aten.contiguous.default, node)

    def attribute(self, target: str, value: Tensor | nn.Module) -> fx.Node:
        """A node for an object that the emitted module holds under `target`, or a name like it that is free."""
        target = self._names.add(target)
        self.attributes[target] = value
        return self.graph.get_attr(target)

    def call(self, function: Any, *arguments: Any, **options: Any) -> fx.Node:
        """A call of `function`; ATen ops are called by their readable names."""
        return _as_leaf(self.graph.call_function(readable_target(function), arguments, options))

    def named(self, name: str, function: Any, *arguments: Any) -> fx.Node:
        """A call whose result is `name` in the emitted code."""
        return _as_leaf(self.graph.create_node("call_function", readable_target(function), arguments, {}, name))

    def spelled(self, value: Any) -> Any:
        """A constant as the emitted code writes it: a dataclass by its fields, anything else as it is."""
        if not is_dataclass(value) or isinstance(value, type):
            return value
        return self.graph.call_function(
            type(value), (), {field.name: getattr(value, field.name) for field in fields(value)}
        )

    def inline(self, block: Block) -> None:
        """Copy the calls of a block into the graph."""
        copied: dict[fx.Node, Any] = {}
        names = iter(block.inputs)
        writes = writes_of(block.body.graph)
        for node in block.body.graph.nodes:
            if node.op == "placeholder":
                copied[node] = self.values[next(names)]
            elif node.op == "output":
                self.values.update(zip(block.outputs, (copied[result] for result in node.args[0]), strict=True))
            else:
                copied[node] = self.graph.node_copy(node, lambda source: copied[source])
                copied[node].target = readable_target(writes.get(node, node.target))

    def proxies(self) -> Values:
        """The named values as proxies: torch functions called on them grow this graph."""
        tracer = GraphAppendingTracer(self.graph)

        def constant(name: str, value: Tensor) -> fx.Proxy:
            return fx.Proxy(self.attribute(name, value), tracer)

        named = {name: fx.Proxy(node, tracer) for name, node in self.values.items()}
        stacks = {names: fx.Proxy(node, tracer) for names, node in self.stacks.items()}
        lists = {names: fx.Proxy(node, tracer) for names, node in self.lists.items()}
        return Values(named, stacks, lists, constant)

    @staticmethod
    def nodes(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """Arguments made of proxies, as arguments of a graph node."""
        return pytree.tree_map_only(fx.Proxy, lambda proxy: proxy.node, arguments)

    def finish(self, outputs: Iterable[str], name: str) -> fx.GraphModule:
        """The emitted module, without what nothing reads; parameters in it are the model's own objects."""
        self.graph.output(tuple(self.values[output] for output in outputs))
        self.graph.eliminate_dead_code(_is_kept)
        self.graph.lint()
        return _quiet(fx.GraphModule(self.attributes, self.graph, class_name=name))


def _quiet(module: fx.GraphModule) -> fx.GraphModule:
    """The module; an error in it, or in a step that it holds, is raised without being printed.

    `GraphModule` defines, in a class that every module has for itself, a `__call__` that prints the generated code.
    """
    for one in module.modules():
        if isinstance(one, fx.GraphModule) and "__call__" in vars(type(one)):
            del type(one).__call__
    return module


def _is_kept(node: fx.Node) -> bool:
    """Whether a call matters though nothing reads its result: guards are there to be checked."""
    return node.op in ("placeholder", "output") or node.target is check_guards


def _as_leaf(node: fx.Node) -> fx.Node:
    """Loading a saved module traces its code again: solvers, which are Python functions, must not be looked into."""
    if isinstance(node.target, FunctionType):
        node.meta["is_wrapped"] = True
    return node
