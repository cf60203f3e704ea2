"""Which calls make finite numbers of finite ones because of what these are: powers, roots and quotients of norms.

x / sqrt(mean(x^2) + eps)
"""

from typing import Any

import torch
from torch import fx

from fxsolve.ops import access
from fxsolve.ops.call import Call, bind
from fxsolve.torch_compat.operators import OpOverload

_MOST_CALLS = 8  # between a root and the squares in it
_LEAST = 1e-30  # that is no 0 in single precision
_PASSED_ON = (access.SameEntries, access.Reshaped, access.Expanded, access.Permuted)


def makes_finite(call: Call) -> bool:
    """Whether a pointwise call gives finite numbers wherever its arguments are, but for overflow."""
    match call.name:
        case "rsqrt" | "reciprocal":
            return _is_at_least(call.first, 1)
        case "sqrt":
            return _is_at_least(call.first, 0)
        case "div":
            return _is_at_least(call["other"], 1)
        case "pow":
            return isinstance(call.first, fx.Node) and isinstance(call["exponent"], int) and call["exponent"] > 0
    return call.fact.finite


def sums_up(call: Call) -> bool:
    """Whether a reduction gives finite numbers of finite ones."""
    match call.name:
        case "sum" | "mean" | "amax" | "amin":
            return True
    return call.name == "linalg_vector_norm" and call["ord"] > 0


def keeps_from_zero(call: Call) -> bool:
    """Whether a norm divides equal numbers, as the zeros of a canvas, by more than 0; without a number, by its own."""
    return call["eps"] is None or call["eps"] >= _LEAST


def _is_at_least(value: Any, sign: int, calls: int = _MOST_CALLS) -> bool:
    """Whether all entries are known to be 0 or more, or, for `sign` 1, to be more than 0 in their type."""
    if not isinstance(value, fx.Node):
        return isinstance(value, (int, float)) and value >= sign * _LEAST
    if not isinstance(value.target, OpOverload) or not calls:
        return False
    call = bind(value.target, value.args, value.kwargs, value.meta["spec"])
    least = torch.finfo(call.example.dtype).tiny if call.example.dtype.is_floating_point else 1
    match call.name:
        case "add":
            by = call["other"]
            is_enough = isinstance(by, (int, float)) and by >= sign * least
            return is_enough and call["alpha"] in (None, 1) and _is_at_least(call.first, 0, calls - 1)
        case "clamp" | "clamp_min":
            # The upper end counts where they are the wrong way round.
            ends = [call["min"]] if call.arguments.get("max") is None else [call["min"], call["max"]]
            return all(isinstance(end, (int, float)) and end >= sign * least for end in ends)
        case "sqrt" | "rsqrt":
            return _is_at_least(call.first, sign, calls - 1)
        case "pow":
            return not sign and isinstance(call["exponent"], int) and call["exponent"] % 2 == 0
        case "mul":
            return not sign and call["self"] is call["other"]
        case "abs" | "relu" | "linalg_vector_norm" | "var":
            return not sign
    if isinstance(call.fact.access, _PASSED_ON) or call.name in ("sum", "mean"):
        is_known = _keeps_least(call) and not (sign and call.name in ("sum", "mean"))
        return is_known and _is_at_least(call.first, sign, calls - 1)
    return False


def _keeps_least(call: Call) -> bool:
    """Whether the type of a result has room for the least of its argument: small numbers are 0 in half precision.

    Large ones are less than 0 in a type of integers.
    """
    own, made = call.first.meta["spec"].dtype, call.example.dtype
    if own == made or not own.is_floating_point:
        return own == made or made.is_floating_point
    return made.is_floating_point and torch.finfo(made).tiny <= torch.finfo(own).tiny
