"""d_t = a_t d_{t-1} + b_t, one step after the other."""

import torch
from torch import Tensor

from fxsolve.solvers.affine_maps import Maps

_SLAB = 64


def in_order_scan(maps: Maps, a: Tensor, b: Tensor) -> Tensor:
    """All d_t of a (T, N, ...) and b (T, N, ...) with d_0 = b_0: T steps, nothing composed."""
    result = torch.empty_like(b)
    result[0] = state = b[0]
    # Widened a slab at a time: one by one costs calls, all at once memory.
    for factors, rows, places in zip(a[1:].split(_SLAB), b[1:].split(_SLAB), result[1:].split(_SLAB), strict=True):
        state = run_steps(maps, maps.widen(factors), rows, state, places)
    return result


def run_steps(maps: Maps, a: Tensor, b: Tensor, state: Tensor, out: Tensor) -> Tensor:
    """Write the states that follow `state` into `out`; returns the last one."""
    for factor, row, place in zip(a.unbind(0), b.unbind(0), out.unbind(0), strict=True):
        state = maps.step(factor, state, row, place)
    return state
