"""Values on buffers that are the same in every run, such as masks: they are made of constants alone."""

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from fxsolve.ir.ancestors import closure
from fxsolve.ir.calls import arguments
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.ops.access import Chosen, ConstantFill, SameEntries, SamePlace
from fxsolve.ops.facts import access_of
from fxsolve.rewrite.recorded.constants import makes_constants
from fxsolve.torch_compat.operators import OpOverload

aten = torch.ops.aten

_MOST_ENTRIES = 2**24
_ENTRY_BY_ENTRY = SamePlace | Chosen | SameEntries


@dataclass(frozen=True)
class Attributes:
    """Attributes by target that hold the same in every run; `rested` are those whose values something rests on.

    What rests on those that are `bound` was seen at the sizes of one program, and may be otherwise at others.
    `parameters` are others, by target.
    """

    values: Mapping[str, Tensor] = field(default_factory=dict)
    parameters: frozenset[str] = frozenset()
    rested: set[str] = field(default_factory=set)
    bound: set[str] = field(default_factory=set)


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
        self._uncut: dict[fx.Node, Tensor | None] = {}
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

    def __contains__(self, node: fx.Node) -> bool:
        return node in self._order

    def of(self, node: fx.Node) -> Tensor | None:
        """The value of a node, on which something rests; None where that is another one in each run."""
        value = self._of(node)
        uncut = self._without_cuts(node) if value is not None else None
        if value is not None and (uncut is None or uncut.shape != value.shape):
            self._bind(node)
        return value

    def holds(self, node: fx.Node, ask: Callable[[Tensor], bool]) -> bool:
        """Whether something is known to hold of a value.

        It holds at every size where it is so of all that the value is cut out of: what is asked must be such that it
        holds of a leading part then.
        """
        value = self._of(node)
        if value is None or not ask(value):
            return False
        uncut = self._without_cuts(node)
        if uncut is None or not ask(uncut):
            self._bind(node)
        return True

    def _bind(self, node: fx.Node) -> None:
        needed = closure([node], self._read.__getitem__)
        self._attributes.bound.update(str(one.target) for one in needed if one.op == "get_attr")

    def _of(self, node: fx.Node) -> Tensor | None:
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

    def _without_cuts(self, node: fx.Node) -> Tensor | None:
        """The value with nothing cut off from attributes; None where it is not made of these entry by entry."""
        if node not in self._uncut:
            self._uncut[node] = (
                self._attributes.values[str(node.target)] if node.op == "get_attr" else self._made_so(node)
            )
        return self._uncut[node]

    def _made_so(self, node: fx.Node) -> Tensor | None:
        values = {one: self._without_cuts(one) for one in self._read[node]}
        if not values or any(value is None or value.numel() > _MOST_ENTRIES for value in values.values()):
            return None
        if node.target is aten.slice.Tensor:
            _, _, start, _, step = arguments(node, None, 0, None, None, 1)
            return values[node.all_input_nodes[0]] if (start or 0) == 0 and step == 1 else None
        is_entry_by_entry = isinstance(access_of(node.target), _ENTRY_BY_ENTRY) or node.target is aten.unsqueeze.default
        if not is_entry_by_entry or _reads_form(node):
            return None
        args, kwargs = fx.map_arg((node.args, dict(node.kwargs)), values.__getitem__)  # pyright: ignore
        try:
            return node.target(*args, **kwargs)  # pyright: ignore[reportCallIssue]
        except RuntimeError:
            return None  # of attributes of several sizes

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
