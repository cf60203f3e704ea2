"""Values on buffers that are the same in every run, such as masks: they are made of constants alone."""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from fxsolve.ir.ancestors import ancestors
from fxsolve.ir.tensor_spec import TensorSpec
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
    """What is known of the nodes of a graph. Equal calls of what is known are computed once, whatever the step."""

    def __init__(self, graph: fx.Graph, attributes: Attributes) -> None:
        self._attributes = attributes
        self._order: dict[fx.Node, int] = {}
        self._values: dict[fx.Node, Tensor] = {}
        self._made: dict[Hashable, Tensor] = {}
        for node in graph.nodes:
            self.note(node)

    def note(self, node: fx.Node) -> None:
        """See a node, behind those that it reads."""
        if node.op == "get_attr":
            is_known = node.target in self._attributes.values
        else:
            is_known = isinstance(node.target, OpOverload) and makes_constants(node.target) and _is_small(node)
            is_known = is_known and all(one in self._order for one in node.all_input_nodes)
        if is_known:
            self._order[node] = len(self._order)

    def of(self, node: fx.Node) -> Tensor | None:
        """The value of a node, on which something rests; None where that is another one in each run."""
        if node not in self._order:
            return None
        needed = sorted(ancestors([node]), key=self._order.__getitem__)
        with torch.no_grad():
            for one in needed:
                if one not in self._values:
                    self._values[one] = self._compute(one)
        self._attributes.rested.update(str(one.target) for one in needed if one.op == "get_attr")
        return self._values[node]

    def _compute(self, node: fx.Node) -> Tensor:
        if node.op == "get_attr":
            return self._attributes.values[str(node.target)]
        args, kwargs = fx.map_arg((node.args, dict(node.kwargs)), lambda one: self._values[one])  # pyright: ignore
        named = fx.map_arg((node.args, dict(node.kwargs)), lambda one: ("value", id(self._values[one])))  # pyright: ignore
        key = (node.target, str(named))
        if key not in self._made:
            self._made[key] = node.target(*args, **kwargs)  # pyright: ignore[reportCallIssue]
        return self._made[key]


def _is_small(node: fx.Node) -> bool:
    spec: Any = node.meta.get("spec")
    return isinstance(spec, TensorSpec) and math.prod(spec.shape) <= _MOST_ENTRIES
