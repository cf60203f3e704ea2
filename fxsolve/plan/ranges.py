"""The range of what a loop carries, proved from the op that makes it: tanh gives [-1, 1], relu [0, inf)."""

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from fxsolve.ir.spec import Repeat
from fxsolve.torch_compat.operators import OpOverload

aten = torch.ops.aten

Interval = tuple[float, float]
EVERYTHING: Interval = (-math.inf, math.inf)


def carried_ranges(repeat: Repeat, outputs: tuple[int, ...]) -> tuple[Interval, ...]:
    """An interval that holds every entry of each of these outputs at every step, whatever the step reads."""
    results: Any = repeat.body.graph.output_node().args[0]
    return tuple(_range(results[output]) for output in outputs)


def _range(value: Any) -> Interval:
    if isinstance(value, (int, float)):
        return (value, value)
    if not isinstance(value, fx.Node) or value.op != "call_function":
        return EVERYTHING
    if value.target in _RANGES:
        return _RANGES[value.target]
    if value.target in _SAME or (isinstance(value.target, OpOverload) and value.target.is_view):
        return _range(value.args[0])
    return _RULES.get(value.target, _anything)(*value.args)


def _anything(*_: Any) -> Interval:
    return EVERYTHING


def _clamp(_: Any, low: Any = None, high: Any = None) -> Interval:
    return (low if isinstance(low, (int, float)) else -math.inf, high if isinstance(high, (int, float)) else math.inf)


def _clamp_max(_: Any, high: Any) -> Interval:
    return _clamp(None, None, high)


def _hardtanh(_: Any, low: float = -1.0, high: float = 1.0) -> Interval:
    return low, high


def _product(left: Any, right: Any) -> Interval:
    """Of intervals that end at 0, 1, -1 or infinity only: no product of their entries rounds across an end."""
    ends = [a * b if a and b else 0.0 for a in _range(left) for b in _range(right)]
    exact = all(end in (0.0, 1.0, -1.0) or math.isinf(end) for end in (*_range(left), *_range(right)))
    return (min(ends), max(ends)) if exact else EVERYTHING


def _negative(value: Any) -> Interval:
    low, high = _range(value)
    return -high, -low


def _either(_: Any, left: Any, right: Any) -> Interval:
    return _hull([_range(left), _range(right)])


def _joined(values: Any, *_: Any) -> Interval:
    return _hull([_range(value) for value in values])


def _hull(ranges: list[Interval]) -> Interval:
    return min(low for low, _ in ranges), max(high for _, high in ranges)


_SAME = frozenset(
    {operator.getitem, aten.clone.default, aten._to_copy.default, aten._unsafe_view.default, aten.repeat.default}
)
_RANGES: dict[Any, Interval] = {
    aten.tanh.default: (-1.0, 1.0),
    aten.sin.default: (-1.0, 1.0),
    aten.cos.default: (-1.0, 1.0),
    aten.sigmoid.default: (0.0, 1.0),
    aten.hardsigmoid.default: (0.0, 1.0),
    aten._softmax.default: (0.0, 1.0),
    aten.relu.default: (0.0, math.inf),
    aten.abs.default: (0.0, math.inf),
    aten.exp.default: (0.0, math.inf),
    aten.softplus.default: (0.0, math.inf),
}
_RULES: dict[Any, Callable[..., Interval]] = {
    aten.clamp.default: _clamp,
    aten.clamp_min.default: _clamp,
    aten.clamp_max.default: _clamp_max,
    aten.hardtanh.default: _hardtanh,
    aten.mul.Tensor: _product,
    aten.neg.default: _negative,
    aten.where.self: _either,
    aten.cat.default: _joined,
    aten.stack.default: _joined,
}
