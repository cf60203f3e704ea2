"""The domain of intervals: ends between which all entries of a value lie that are numbers, whatever the step reads.

An end is taken in the type of the value: `clamp` by 0.1 gives entries up to 0.1 as that type has it. So arithmetic on
ends is done only where every type has all of them, and results then round to nothing beyond.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import inf, isinf, isnan
from typing import Any

from fxsolve.ops.access import Joined, SameEntries, Spread, Triangle
from fxsolve.ops.call import Call
from fxsolve.ops.facts import EVERYTHING
from fxsolve.ops.interpret import Domain, for_each_result
from fxsolve.ops.origins import origins


@dataclass(frozen=True)
class Interval:
    """low <= x <= high."""

    low: float
    high: float

    @property
    def is_exact(self) -> bool:
        """Whether the ends are the same in all types: bfloat16 has 8 digits, as multiples of 1/16 up to 8 need."""
        return all(isinf(end) or (abs(end) <= 8 and end * 16 == round(end * 16)) for end in (self.low, self.high))


ANYTHING = Interval(*EVERYTHING)


class Intervals(Domain):
    """Values are `Interval`s."""

    def is_abstract(self, value: Any) -> bool:
        return isinstance(value, Interval)

    def known(self, compute: Any) -> Interval:
        """Tensors made in a step are small matters; they are not computed."""
        return ANYTHING

    def transfer(self, call: Call) -> Any:
        """By the op's own ends, by a rule of arithmetic, or else by where entries come from."""
        found = Interval(*call.fact.range)
        if found == ANYTHING:
            rule = _RULES.get(call.name)
            found = rule(call) if rule is not None else _moved(call)
        return for_each_result(call.example, lambda one: found if _is_real(one) else ANYTHING)

    def mix(self, arguments: Any, example: Any) -> Any:
        return for_each_result(example, lambda one: ANYTHING)


def _is_real(example: Any) -> bool:
    return example is not None and example.dtype.is_floating_point


def _of(value: Any) -> Interval:
    if isinstance(value, Interval):
        return value
    return Interval(value, value) if isinstance(value, (int, float)) else ANYTHING


def _hull(values: Iterable[Any]) -> Interval:
    found = [_of(value) for value in values]
    return Interval(min(one.low for one in found), max(one.high for one in found))


def _moved(call: Call) -> Interval:
    """The ends of what results are taken from."""
    names, access = origins(call), call.fact.access
    if not names or (isinstance(access, SameEntries) and call["dtype"] is not None and not _of(call.first).is_exact):
        return ANYTHING
    taken = [leaf for name in names for leaf in (call[name] if isinstance(access, Joined) else [call[name]])]
    return _hull([*taken, *([0] if isinstance(access, Spread | Triangle) else [])])


def _arithmetic(ends: Iterable[float], *given: Interval) -> Interval:
    """Between the least and the largest, where no rounding leads beyond."""
    found = list(ends)
    result = Interval(min(found), max(found)) if not any(map(isnan, found)) else ANYTHING
    return result if all(one.is_exact for one in (*given, result)) else ANYTHING


def _product(call: Call) -> Interval:
    left, right = _of(call["self"]), _of(call["other"])
    ends = (a * b if a and b else 0.0 for a in (left.low, left.high) for b in (right.low, right.high))
    return _arithmetic(ends, left, right)


def _sum(call: Call) -> Interval:
    left, right = _of(call["self"]), _of(call["other"])
    return _arithmetic((left.low + right.low, left.high + right.high), left, right) if _is_plain(call) else ANYTHING


def _difference(call: Call) -> Interval:
    left, right = _of(call["self"]), _of(call["other"])
    left, right = (right, left) if call.name == "rsub" else (left, right)
    return _arithmetic((left.low - right.high, left.high - right.low), left, right) if _is_plain(call) else ANYTHING


def _is_plain(call: Call) -> bool:
    return call["alpha"] in (None, 1)


def _negative(call: Call) -> Interval:
    value = _of(call["self"])
    return Interval(-value.high, -value.low)


def _clamp(call: Call) -> Interval:
    """min(max(x, low), high) for the ends of x, as far as low and high are numbers."""
    low, high = (call[one] if call[one] is not None else call[other] for one, other in _ENDS)
    value = _of(call["self"])
    return Interval(*(_between(low, end, high) for end in (value.low, value.high)))


def _between(low: Any, end: float, high: Any) -> float:
    end = max(end, low) if isinstance(low, (int, float)) else end
    return min(end, high) if isinstance(high, (int, float)) else end


def _softplus(call: Call) -> Interval:
    """log(1 + exp(beta x)) / beta has the sign of beta."""
    beta = call["beta"]
    return Interval(0.0, inf) if isinstance(beta, (int, float)) and beta > 0 else ANYTHING


_ENDS = (("min", "min_val"), ("max", "max_val"))
_RULES: Mapping[str, Callable[[Call], Interval]] = {
    "clamp": _clamp,
    "clamp_min": _clamp,
    "clamp_max": _clamp,
    "hardtanh": _clamp,
    "mul": _product,
    "add": _sum,
    "sub": _difference,
    "rsub": _difference,
    "neg": _negative,
    "softplus": _softplus,
}
