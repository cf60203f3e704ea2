"""Values of a recorded graph that are the same in every run, whatever its parameters and inputs are."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx

from fxsolve.capture.program import Program, attribute_of
from fxsolve.ir.ancestors import ancestors
from fxsolve.ops.access import Unwritten
from fxsolve.ops.facts import access_of
from fxsolve.rewrite.recorded.drawn import is_open
from fxsolve.torch_compat.operators import OpOverload, once_each


class Constants:
    """The constants of a graph of `program`; `rested` are the attributes whose values those that were found rest on."""

    def __init__(self, graph: fx.Graph, program: Program) -> None:
        self._program = program
        self._fixed: dict[fx.Node, None] = {}  # in order
        self._values: dict[fx.Node, Any] = {}
        self.rested: set[str] = set()
        for node in graph.nodes:
            if self._is_fixed(node):
                self._fixed[node] = None

    def __contains__(self, node: fx.Node) -> bool:
        return node in self._fixed

    def find(self, wanted: Iterable[fx.Node]) -> None:
        """Find the values of these constants, and of those that they are computed from."""
        needed = ancestors(wanted)
        with torch.no_grad():
            for node in self._fixed:
                if node in needed:
                    self._values[node] = self._value(node)

    def of(self, node: fx.Node) -> Tensor:
        """A value that was found."""
        self.rested.update(str(one.target) for one in ancestors([node]) if one.op == "get_attr")
        return self._values[node]

    def _is_fixed(self, node: fx.Node) -> bool:
        if node.op == "get_attr":
            return not is_open(self._program, node) and not attribute_of(self._program, str(node.target)).is_inference()
        if node.op != "call_function" or not all(one in self._fixed for one in node.all_input_nodes):
            return False
        target = node.target
        return not isinstance(target, OpOverload) or makes_constants(target)

    def _value(self, node: fx.Node) -> Any:
        if node.op == "get_attr":
            return attribute_of(self._program, str(node.target))
        args, kwargs = fx.map_arg((node.args, node.kwargs), lambda one: self._values[one])  # pyright: ignore
        return node.target(*args, **kwargs)  # pyright: ignore[reportCallIssue]


@once_each
def makes_constants(target: OpOverload) -> bool:
    """Whether an op gives the same whenever it is given the same."""
    return not (_is_random(target) or _is_unwritten(target))


def attributes_of(program: Program) -> dict[str, Tensor]:
    """The attributes of a program that hold the same in every run, by target."""
    nodes = program.module.graph.find_nodes(op="get_attr")
    values = {str(node.target): attribute_of(program, str(node.target)) for node in nodes if not is_open(program, node)}
    return {target: value.detach() for target, value in values.items() if not value.is_inference()}


def parameters_of(program: Program) -> frozenset[str]:
    """The parameters of a program, by target."""
    nodes = program.module.graph.find_nodes(op="get_attr")
    return frozenset(str(node.target) for node in nodes if program.roles[node.name] == "param")


def _is_random(target: OpOverload) -> bool:
    return torch.Tag.nondeterministic_seeded in target.tags


def _is_unwritten(target: OpOverload) -> bool:
    return isinstance(access_of(target), Unwritten) or target.name().startswith("aten::empty")
