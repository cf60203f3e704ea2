"""Calls of which every kernel gives the same bits: they move entries, or round once, to the nearest number."""

from collections.abc import Mapping
from typing import Any

import torch

from fxsolve.ops.access import (
    Chosen,
    ConstantFill,
    Cut,
    Expanded,
    Joined,
    Made,
    Parts,
    Permuted,
    Rearranged,
    Reshaped,
    SameEntries,
)
from fxsolve.ops.facts import FACTS, fact_of
from fxsolve.torch_compat.operators import OpOverload

_MOVES = (Chosen, ConstantFill, Cut, Expanded, Joined, Made, Parts, Permuted, Rearranged, Reshaped, SameEntries)
# Kernels of narrower types compute in a wider one, and need not round behind each call.
_ROUNDED_AT_ONCE = frozenset({torch.float32, torch.float64})


def is_exact(target: OpOverload, arguments: Mapping[str, Any], dtype: torch.dtype) -> bool:
    """Whether a call on a CPU, with results of this `dtype`, is one of these.

    Two roundings are two: a + alpha * b may be made with one, and powers beyond the third have several orders. A root
    may not be the nearest number: libraries of vectorized functions miss it at times.
    """
    fact = fact_of(target, FACTS)
    if isinstance(fact.access, _MOVES):
        return True
    if dtype.is_floating_point and dtype not in _ROUNDED_AT_ONCE:
        return False
    if target is torch.ops.aten.pow.Tensor_Scalar:
        return arguments["exponent"] in (2, 3)
    return fact.exact and arguments.get("alpha", 1) == 1
