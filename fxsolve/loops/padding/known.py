"""Values on buffers that are the same in every run, such as masks: they are made of constants alone."""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from fxsolve.ir.ancestors import closure
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.ops.access import ConstantFill
from fxsolve.ops.facts import access_of
from fxsolve.rewrite.recorded.constants import makes_constants
from fxsolve.torch_compat.operators import OpOverload

_MOST_ENTRIES = 2**24


@dataclass(frozen=True)
class Attributes:
    """Attributes by target that hold the same in every run; `rested` are those whose values something rests on.

    `parameters` are others, by target.
    """

    values: Mapping[str, Tensor] = field(default_factory=dict)
    parameters: frozenset[str] = frozenset()
    rested: set[str] = field(default_factory=set)


class KnownValues:
    """What is known of the nodes of a graph. Equal calls of what is known are computed once, whatever the step.

    A constant in the form of a value, such as `ones_like` of it, is known where the value is not.
    """

    def __init__(self, graph: fx.Graph, attributes: Attributes) -> None:
        self._attributes = attributes
        self._order: dict[fx.Node, int] = {}
        self._read: dict[fx.Node, list[fx.Node]] = {}
        self._values: dict[fx.Node, Tensor] = {}
        self._made: dict[Hashable, Tensor] = {}
        for node in graph.nodes:
            self.note(node)

    def note(self, node: fx.Node) -> None:
        """See a node, behind those that it reads."""
        read: list[fx.Node] = []
        if node.op == "get_attr":
            is_known = node.target in self._attributes.values
        elif is_known := isinstance(node.target, OpOverload) and makes_constants(node.target) and _is_small(node):
            read = node.all_input_nodes[1:] if _reads_form(node) else node.all_input_nodes
            is_known = all(one in self._order for one in read)
        if is_known:
            self._order[node], self._read[node] = len(self._order), read

    def of(self, node: fx.Node) -> Tensor | None:
        """The value of a node, on which something rests; None where that is another one in each run."""
        if node not in self._order:
            return None
        needed = sorted(closure([node], self._read.__getitem__), key=self._order.__getitem__)
        with torch.no_grad():
            for one in needed:
                if one not in self._values:
                    self._values[one] = self._compute(one)
        self._attributes.rested.update(str(one.target) for one in needed if one.op == "get_attr")
        return self._values[node]

    def _compute(self, node: fx.Node) -> Tensor:
        if node.op == "get_attr":
            return self._attributes.values[str(node.target)]
        values = {one: self._values[one] for one in self._read[node]}
        if _reads_form(node):
            values[node.all_input_nodes[0]] = self._form(node.all_input_nodes[0].meta["spec"])
        args, kwargs = fx.map_arg((node.args, dict(node.kwargs)), values.__getitem__)  # pyright: ignore
        named = fx.map_arg((node.args, dict(node.kwargs)), lambda one: ("value", id(values[one])))  # pyright: ignore
        key = (node.target, str(named))
        if key not in self._made:
            self._made[key] = node.target(*args, **kwargs)  # pyright: ignore[reportCallIssue]
        return self._made[key]

    def _form(self, spec: TensorSpec) -> Tensor:
        """Something of a form, whatever its entries are, without memory for them."""
        if spec not in self._made:
            self._made[spec] = torch.empty((), dtype=spec.dtype, device=spec.device).expand(spec.shape)
        return self._made[spec]


def _reads_form(node: fx.Node) -> bool:
    """Whether a call reads of its first argument no more than what form it has."""
    return isinstance(access_of(node.target), ConstantFill) and node.args[0] not in node.args[1:]


def _is_small(node: fx.Node) -> bool:
    spec: Any = node.meta.get("spec")
    return isinstance(spec, TensorSpec) and math.prod(spec.shape) <= _MOST_ENTRIES
