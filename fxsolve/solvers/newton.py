"""Newton's method on all steps of a window at once: linearise every step, solve the linear chain by a scan.

Lim et al., "Parallelizing non-linear sequential models over the sequence length" (DEER), ICLR 2024 (arXiv
2309.12252); with a diagonal Jacobian Gonzalez et al., "Towards scalable and stable parallelization of nonlinear RNNs",
NeurIPS 2024 (arXiv 2407.19115).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from fxsolve.errors import ScheduleError
from fxsolve.solvers.affine_scan import affine_scan
from fxsolve.solvers.equations import batches_between
from fxsolve.solvers.iterate import Method, State, Verdict, evaluate, final_steps, judge
from fxsolve.solvers.layout import Layout, pack, unpack
from fxsolve.solvers.loop import Loop
from fxsolve.solvers.ranges import profiled
from fxsolve.solvers.rounding import watch_floor
from fxsolve.solvers.stop import Stop
from fxsolve.solvers.window import Outputs, Unknowns, Window, first_guess, reads
from fxsolve.solvers.windows import Initial, receive, solve_windows

Box = tuple[tuple[float, float] | None, ...]

_PATIENCE = 3
_STRIDE = 2  # changes that converge quadratically do not halve in so many steps only where they are rounding


@dataclass(frozen=True)
class NewtonSolver(Method):
    """S <- F(clamp(S + d)), d_t = J_t d_{t-1} + F(S)_t - S_t: a Newton step, then a sweep.

    Steps that are known to be final stay as they are, and entries that overflow start again from F(S).
    """

    linear: nn.Module
    layout: Layout
    box: Box
    stop: Stop

    def init(self, window: Window) -> State:
        return evaluate(window, first_guess(window), self.stop, (), None)

    def step(self, state: State) -> State:
        point = correct(self.linear, self.layout, self.box, state)
        new = evaluate(state.window, point, self.stop, state.sizes, state.values)
        return watch_floor(new, state.anchor, self.stop, _STRIDE)

    def terminate(self, state: State) -> Verdict | None:
        verdict = judge(state, self.stop)
        return "unsolved" if verdict is None and stalled(state.sizes) else verdict


@profiled
def newton(
    loop: Loop,
    linear: nn.Module,
    layout: Layout,
    initial: Initial,
    buffers: tuple[Tensor, ...],
    per_step: tuple[Any, ...],
    shared: tuple[Any, ...],
    atol: float,
    rtol: float,
    max_steps: int | None,
    bounds: Sequence[int],
    box: Box = (),
) -> Outputs:
    """Solve s_t = f(s_{t-1}) by Newton steps over the windows between `bounds`.

    linear(reads of the body...) returns the outputs of a sweep and J = d s_t / d s_{t-1} in the coordinates of
    `layout`: (n, *batch, m, m), or (n, *batch, m) for its diagonal alone, or (n, *batch) where m = 1. `box` has limits
    (low, high) that hold the states of each output of `layout`, or None. A window that does not meet the test within
    `max_steps` sweeps, or whose corrections no longer shrink, is finished step by step from its exact prefix.
    Raises `ScheduleError` if `layout` is not that of the loop.
    """
    check_layout(loop, layout)
    method = NewtonSolver(linear, layout, box or tuple(None for _ in layout.outputs), Stop(atol, rtol, max_steps))
    equations = receive(loop, initial, buffers, per_step, shared, method.stop, batches_between(bounds))
    return solve_windows("newton", method, replace(equations, linear=linear, layout=layout), bounds)


def correct(linear: nn.Module, layout: Layout, box: Box, state: State) -> Unknowns:
    """The newest iterate and one Newton correction."""
    values = state.values
    *images, jacobian = linear(*reads(state.window, values))
    base = pack(layout, [values[number] for number in layout.outputs])
    image = pack(layout, [images[number] for number in layout.outputs])
    moved = base + solve_chain(jacobian, image - base)
    moved = torch.where(moved.isfinite(), moved, image)
    final = final_steps(state)
    parts = zip(layout.outputs, unpack(layout, moved), box, strict=True)
    return {number: _accept(final, values[number], _clamp(part, limits)) for number, part, limits in parts}


def _accept(final: Tensor, value: Tensor, moved: Tensor) -> Tensor:
    """The corrected steps; final ones keep their bits, whatever the rounding of the linear module and the box say."""
    known = final.reshape(-1, *(1 for _ in value.shape[1:]))
    return torch.where(known, value, moved.to(value.dtype))


def solve_chain(jacobian: Tensor, residual: Tensor) -> Tensor:
    """d_t = J_t d_{t-1} + r_t for r (n, *batch, m), in the coordinates of a layout."""
    if jacobian.dim() == residual.dim() - 1:
        return affine_scan(jacobian, residual.squeeze(-1)).unsqueeze(-1)
    return affine_scan(jacobian, residual)


def stalled(sizes: Sequence[float]) -> bool:
    """Whether the last few changes all failed to be the smallest so far."""
    return len(sizes) > _PATIENCE + 1 and min(sizes[-_PATIENCE:]) >= min(sizes[1:-_PATIENCE])


def check_layout(loop: Loop, layout: Layout) -> None:
    """Raise `ScheduleError` unless the lags of `loop` are those of `layout`."""
    lags = sorted((lag.output, lag.distance) for lag in loop.lags)
    if loop.buffer_specs or lags != sorted((number, 1) for number in layout.outputs):
        raise ScheduleError(
            f"the layout holds the outputs {layout.outputs}, each read one step back, but {loop.name} reads "
            f"{', '.join(f'output {number} {distance} back' for number, distance in lags) or 'no step'}"
            f"{' and buffers' if loop.buffer_specs else ''}"
        )


def _clamp(values: Tensor, limits: tuple[float, float] | None) -> Tensor:
    return values if limits is None else values.clamp(*limits)
