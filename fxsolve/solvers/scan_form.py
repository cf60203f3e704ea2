"""Which form of an affine scan runs: in order, logarithmic or blocked.

All forms give the loop to rounding, and none loses a state to a product that overflowed; the choice is about time,
measured on one CPU thread and for the CPU alone. An op costs about 2 us to call. A scan of few entries is all calls,
and the logarithmic form makes the fewest; its T log T work tells soon after. Where one step of the loop keeps the
processor busy, composing maps only adds work.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from fxsolve.solvers.affine_maps import Maps
from fxsolve.solvers.blocked_scan import blocked_scan
from fxsolve.solvers.cyclic_reduction import cyclic_reduction
from fxsolve.solvers.in_order_scan import in_order_scan

_FEW_STEPS = 24
_FEW_ENTRIES = 2**14
_FEW_ENTRIES_DENSE = 2**12
# Entries of a diagonal state, and multiplications of one composition, that keep a core busy for longer than a call.
_WIDE_STATE = 2**13
_WIDE_COMPOSITION = 2**15
# What the call of a product of small matrices costs for each of them, in multiplications.
_PER_MATRIX = 100
_LARGE = 2**22


@dataclass(frozen=True)
class Form:
    """The name of a form, and the steps of a chunk where it is the blocked one."""

    name: Literal["in order", "logarithmic", "blocked"]
    chunk: int = 0


def choose_form(a: Tensor, b: Tensor) -> Form:
    """The fastest form for a (T, N) and b (T, N), or a (T, N, n, n) and b (T, N, n, 1): shapes and device count."""
    if len(b) < _FEW_STEPS:
        return Form("in order")
    on_cpu = a.device.type == "cpu"
    if on_cpu and _is_wide(a):
        return Form("in order")
    if on_cpu and a.numel() <= (_FEW_ENTRIES_DENSE if a.dim() > 2 else _FEW_ENTRIES):
        return Form("logarithmic")
    if a.dim() > 2:
        return Form("blocked", 8)
    return Form("blocked", 64 if a.numel() >= _LARGE else 16)


def run_form(form: Form, maps: Maps, a: Tensor, b: Tensor) -> Tensor:
    """All d_t = a_t d_{t-1} + b_t with d_0 = b_0, in the type that the maps compute in."""
    b = maps.widen(b)
    if form.name == "in order":
        return in_order_scan(maps, a, b)
    if form.name == "logarithmic":
        return cyclic_reduction(maps, a, b)
    return blocked_scan(maps, a, b, form.chunk)


def _is_wide(a: Tensor) -> bool:
    if a.dim() == 2:
        return a.shape[1] >= _WIDE_STATE
    return a.shape[1] * (a.shape[2] ** 3 + _PER_MATRIX) >= _WIDE_COMPOSITION
