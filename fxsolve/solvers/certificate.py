"""What is known of a solution after the fact: its residual, the steps that are exact, and a bound on its error."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fxsolve.errors import ScheduleError
from fxsolve.solvers.bitwise import unchanged_steps
from fxsolve.solvers.bound import amplification, bound_by_jacobian
from fxsolve.solvers.layout import Layout, pack
from fxsolve.solvers.loop import Loop
from fxsolve.solvers.norms import has_size, measure
from fxsolve.solvers.solution import Solution
from fxsolve.solvers.stop import Stop
from fxsolve.solvers.window import Given, Outputs, Unknowns, Window, open_window, reads, sweep, unknowns
from fxsolve.solvers.windows import Initial, start_of

_ROUNDINGS = 4
_LINEAR = 1e-2
_OUTWEIGHS = 100


@dataclass(frozen=True)
class Certificate:
    """A solution S of S = F(S), looked at again.

    `residual` = max |F(S) - S|, and `bitwise` says that no bit differs: S is then the fixed point of the batched steps.
    The first `prefix` steps are proved to be so. `bound` estimates max |S - s| for s the solution in exact arithmetic:
    "jacobian" propagates the residual and the rounding of each step by norms of the Jacobians, "disturbance" by what
    sweeps made of a small disturbance, which shrank by `rate` a sweep; both to first order, so the bound is infinite
    where errors may be larger than a hundredth of the values. `solution` is what the solver did.
    """

    residual: float
    bitwise: bool
    prefix: int
    bound: float
    basis: Literal["equality", "jacobian", "disturbance"]
    rate: float | None = None
    solution: Solution | None = None


def certify(
    loop: Loop,
    initial: Initial,
    buffers: tuple[Tensor, ...],
    per_step: tuple[Any, ...],
    shared: tuple[Any, ...],
    values: Unknowns,
    linearized: tuple[nn.Module, Layout] | None = None,
    solution: Solution | None = None,
) -> Certificate:
    """Sweep all T steps once more at `values`, the stacks (T, ...) of the outputs that steps read, by number.

    `linearized` are the linear module and the layout of `newton`, with the whole Jacobian; without them up to 64 more
    sweeps measure how the loop propagates errors. The values may come from any solver.
    """
    window = open_window(Given(loop, per_step, shared), start_of(initial, buffers), loop.length)
    images = unknowns(loop, sweep(window, values))
    pairs = [(images[number], value) for number, value in values.items()]
    change = measure(pairs, Stop())
    prefix = unchanged_steps(pairs, loop.length)
    bitwise = prefix == loop.length
    residual = 0.0 if bitwise else change.size
    if not any(map(has_size, values.values())):
        return Certificate(residual, bitwise, prefix, 0.0 if bitwise else math.inf, "equality", None, solution)
    if linearized is None:
        bound, rate = _by_disturbance(window, values, residual)
        return Certificate(residual, bitwise, prefix, bound, "disturbance", rate, solution)
    bound = _by_jacobian(window, values, images, *linearized)
    return Certificate(residual, bitwise, prefix, bound, "jacobian", None, solution)


def carried(loop: Loop, results: Outputs) -> Unknowns:
    """The stacks that steps read, out of what a solver returned.

    Raises `ScheduleError` if the loop does not stack them all.
    """
    numbers = [lag.output for lag in loop.lags] + [spec.output for spec in loop.buffer_specs]
    missing = [number for number in numbers if number not in loop.stacked]
    if missing:
        raise ScheduleError(
            f"{loop.name} does not stack output {missing[0]}, which its steps read; stack it to certify"
        )
    return {number: results[loop.stacked.index(number)] for number in numbers}


def _by_jacobian(window: Window, values: Unknowns, images: Unknowns, linear: nn.Module, layout: Layout) -> float:
    state = pack(layout, [values[number] for number in layout.outputs]).double()
    image = pack(layout, [images[number] for number in layout.outputs]).double()
    *_, jacobian = linear(*reads(window, values))
    if state.shape[-1] == 1:
        jacobian = jacobian.reshape(*state.shape[:-1], 1, 1)
    if jacobian.dim() != state.dim() + 1:
        raise ScheduleError(f"{window.loop.name} has a bound by its whole Jacobian; its diagonal alone gives none")
    sizes = state.abs().amax(-1)
    before = torch.cat((sizes.new_zeros(1, *sizes.shape[1:]), sizes[:-1]))
    heads = [head.double().abs().amax() for head in window.frontier.heads if head.numel() > 0]
    before[0] = torch.stack(heads).amax() if heads else 0.0
    steps = jacobian.double().abs().sum(-1).amax(-1)
    rounding = (_ROUNDINGS + state.shape[-1]) * _eps(values) * (sizes + steps * before)
    bounds = bound_by_jacobian(jacobian, (image - state).abs().amax(-1) + rounding)
    return _linear(2 * _largest(bounds), values)


def _by_disturbance(window: Window, values: Unknowns, residual: float) -> tuple[float, float | None]:
    scale = _scale(values)
    if not 0 < scale < math.inf or not math.isfinite(residual):
        return (0.0 if scale == residual == 0 else math.inf), None
    size = max(_OUTWEIGHS * residual, math.sqrt(_eps(values)) * scale)
    factor, rate = amplification(window, values, size)
    return _linear(factor * (residual + 2 * _ROUNDINGS * _eps(values) * scale), values), rate


def _linear(bound: float, values: Unknowns) -> float:
    """The bound, or infinity where it is too large for its first-order derivation."""
    return bound if bound <= _LINEAR * _scale(values) else math.inf


def _eps(values: Mapping[int, Tensor]) -> float:
    """The coarsest rounding among the real states."""
    real = (value.dtype for value in values.values() if has_size(value))
    return max(torch.finfo(dtype).eps for dtype in real)


def _scale(values: Mapping[int, Tensor]) -> float:
    real = (value for value in values.values() if has_size(value))
    return max((_largest(value) for value in real), default=0.0)


def _largest(values: Tensor) -> float:
    return float(values.abs().amax()) if values.numel() > 0 else 0.0
