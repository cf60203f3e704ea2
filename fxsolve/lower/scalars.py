"""Single numbers of double precision in a step, computed by Python: it takes a tenth of the time, to the same bits.

    a = to_double(x); c = lt(abs(a - b), a * 1e-4)   ->   a = x.item(); c = abs(a - b.item()) < a * 1e-4

A tensor stays beside its number where something reads it that takes tensors only.
"""

import operator
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import fx, nn

from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.solvers.numbers import quotient

_NARROWER = (torch.float32, torch.float16, torch.bfloat16)
_NUMBERS = (int, float, bool)
_IN_PYTHON: Mapping[Callable[..., Any], Callable[..., Any]] = {
    torch.add: operator.add,
    torch.sub: operator.sub,
    torch.mul: operator.mul,
    torch.div: quotient,
    torch.abs: operator.abs,
    torch.neg: operator.neg,
    torch.lt: operator.lt,
    torch.le: operator.le,
    torch.gt: operator.gt,
    torch.ge: operator.ge,
    torch.eq: operator.eq,
    torch.ne: operator.ne,
}
_BESIDE_A_TENSOR = frozenset({torch.add, torch.sub, torch.mul, torch.div})


def with_numbers(step: nn.Module, decisions: Collection[int]) -> nn.Module:
    """The step, readable, of which the outputs `decisions` may be bools of Python."""
    assert isinstance(step, fx.GraphModule)
    twins = _Twins(step.graph)
    for node in list(step.graph.nodes):
        twins.add(node)
    output = step.graph.output_node()
    results: Any = output.args[0]
    output.args = (tuple(twins.of.get(one, one) if k in decisions else one for k, one in enumerate(results)),)
    step.graph.eliminate_dead_code()
    step.recompile()
    return step


class _Twins:
    """The numbers of Python beside the tensors of a graph, `of` a tensor's node that of its number."""

    def __init__(self, graph: fx.Graph) -> None:
        self._graph = graph
        self.of: dict[fx.Node, fx.Node] = {}

    def add(self, node: fx.Node) -> None:
        """Write the number that a call gives, if it is one of others; let a call of tensors read numbers."""
        target: Any = node.target
        if node.op != "call_function":
            return
        if _is_read(node):
            source: Any = node.args[0]
            self._write(node, lambda: self._graph.call_method("item", (source,)))
            self._as_method(node, source)
        elif target in _IN_PYTHON and not node.kwargs and self._is_of_numbers(node):
            given = tuple(self._number(one) for one in node.args)
            self._write(node, lambda: self._graph.call_function(_IN_PYTHON[target], given))
        elif target in _BESIDE_A_TENSOR and not node.kwargs and len(node.args) == 2:
            self._read_number(node)

    def _write(self, node: fx.Node, made: Callable[[], fx.Node]) -> None:
        with self._graph.inserting_after(node):
            self.of[node] = made()
        self.of[node].meta["is_wrapped"] = self.of[node].target is quotient  # loading a module traces its code again

    def _as_method(self, node: fx.Node, source: fx.Node) -> None:
        """A copy that changes the type alone; called so it takes half the time."""
        with self._graph.inserting_before(node):
            copy = self._graph.call_method("double", (source,))
        copy.meta.update(node.meta)
        self.of[copy] = self.of.pop(node)
        node.replace_all_uses_with(copy)

    def _is_of_numbers(self, node: fx.Node) -> bool:
        values = [one for one in node.args if isinstance(one, fx.Node)]
        known = any(one in self.of for one in values)
        return known and all(type(one) in _NUMBERS or _is_number(one) for one in node.args)

    def _number(self, value: Any) -> Any:
        if not isinstance(value, fx.Node):
            return value
        if value not in self.of:
            with self._graph.inserting_after(value):
                self.of[value] = self._graph.call_method("item", (value,))
        return self.of[value]

    def _read_number(self, node: fx.Node) -> None:
        x, number = node.args
        if isinstance(x, fx.Node) and number in self.of and _has_type_of(node, x):
            node.args = (x, self.of[number])  # pyright: ignore[reportArgumentType]


def _is_read(node: fx.Node) -> bool:
    """Whether a call makes a double of a single number on the CPU."""
    if node.target is not torch.ops.aten._to_copy.default or not isinstance(node.args[0], fx.Node):
        return False
    source = node.args[0].meta.get("spec")
    return isinstance(source, TensorSpec) and source.dtype in _NARROWER and _is_here(source) and _is_number(node)


def _is_number(value: Any) -> bool:
    spec = value.meta.get("spec") if isinstance(value, fx.Node) else None
    return isinstance(spec, TensorSpec) and spec.shape == () and spec.dtype == torch.float64 and _is_here(spec)


def _is_here(spec: TensorSpec) -> bool:
    return spec.device.type == "cpu"


def _has_type_of(node: fx.Node, x: fx.Node) -> bool:
    """Whether the result has the type that a tensor has by itself, which no number beside it changes."""
    spec, own = node.meta.get("spec"), x.meta.get("spec")
    return isinstance(spec, TensorSpec) and isinstance(own, TensorSpec) and bool(own.shape) and spec.dtype == own.dtype
