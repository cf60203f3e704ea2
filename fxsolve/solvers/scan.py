"""The direct solve of a loop whose steps are affine in what they carry: s_t = J_t s_{t-1} + b_t by a parallel scan.

Blelloch, "Prefix sums and their applications", 1990; for the backward pass of a chain Wang et al., "BPPSA: scaling
back-propagation by parallel scan algorithm", MLSys 2020, section 3.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from fxsolve.solvers.equations import batches_between
from fxsolve.solvers.iterate import Method, State, Verdict, evaluate, judge
from fxsolve.solvers.layout import Layout, pack, unpack
from fxsolve.solvers.loop import Loop
from fxsolve.solvers.newton import check_layout, correct, solve_chain
from fxsolve.solvers.ranges import profiled
from fxsolve.solvers.stop import Stop
from fxsolve.solvers.window import Outputs, Unknowns, Window, first_guess, reads
from fxsolve.solvers.windows import Initial, receive, solve_windows

_SWEEPS = 3
_ROUNDINGS = 8


@dataclass(frozen=True)
class ScanSolver(Method):
    """S = scan(J, F(0)), then a sweep; a residual above rounding is corrected by the same J.

    |F(S) - S|_t <= c eps (|J_t| |S_{t-1}| + |F(0)_t|), the largest entries of a step compared: then S_t is as close to
    the affine map of S_{t-1} as a step of the loop itself would be.
    """

    linear: nn.Module
    layout: Layout

    def init(self, window: Window) -> State:
        jacobian, offset = self._affine(window)
        values = _by_number(self.layout, solve_chain(jacobian, offset), window)
        return self._test(evaluate(window, values, Stop(), (), None), jacobian, offset)

    def step(self, state: State) -> State:
        free = tuple(None for _ in self.layout.outputs)
        point = correct(self.linear, self.layout, free, state)
        return self._test(evaluate(state.window, point, Stop(), state.sizes, None), *self._affine(state.window))

    def terminate(self, state: State) -> Verdict | None:
        return judge(state, Stop(max_sweeps=_SWEEPS))

    def _affine(self, window: Window) -> tuple[Tensor, Tensor]:
        """J and b of S_t = J_t S_{t-1} + b_t in packed coordinates, the start folded into b_0."""
        lags = len(window.loop.lags)
        given = reads(window, first_guess(window))
        zeros = [torch.zeros_like(read) for read in given[:lags]]
        *images, jacobian = self.linear(*zeros, *given[lags:])
        offset = pack(self.layout, [images[number] for number in self.layout.outputs])
        start = pack(self.layout, [_head(window, number) for number in self.layout.outputs])
        return jacobian, torch.cat((offset[:1] + _apply(jacobian[:1], start), offset[1:]))

    def _test(self, state: State, jacobian: Tensor, offset: Tensor) -> State:
        """Whether each residual is one of rounding; reads the device once."""
        values = pack(self.layout, [state.point[number] for number in self.layout.outputs])
        images = pack(self.layout, [state.values[number] for number in self.layout.outputs])
        before = torch.cat((torch.zeros_like(values[:1]), values[:-1]))
        scale = _apply(jacobian.abs(), before.abs()) + offset.abs()
        unit = _ROUNDINGS * (values.shape[-1] + _ROUNDINGS) * torch.finfo(values.dtype).eps
        rounding = _largest((images - values).abs()) <= unit * _largest(scale)
        return replace(state, change=replace(state.change, converged=bool(rounding.all())))


@profiled
def scan(
    loop: Loop,
    linear: nn.Module,
    layout: Layout,
    initial: Initial,
    buffers: tuple[Tensor, ...],
    per_step: tuple[Any, ...],
    shared: tuple[Any, ...],
) -> Outputs:
    """Solve a loop whose carried outputs are affine in what they carry by one scan; all outputs come from a sweep.

    `linear` and `layout` are those of `newton`, with the whole Jacobian. A residual above rounding is corrected,
    at most twice. Where products of J overflow, or a residual stays above rounding, the steps behind the exact prefix
    are run in order.
    """
    check_layout(loop, layout)
    bounds = (0, loop.length)
    equations = receive(loop, initial, buffers, per_step, shared, Stop(), batches_between(bounds))
    return solve_windows("scan", ScanSolver(linear, layout), replace(equations, linear=linear, layout=layout), bounds)


def _by_number(layout: Layout, state: Tensor, window: Window) -> Unknowns:
    parts = zip(layout.outputs, unpack(layout, state), strict=True)
    return {number: part.to(_head(window, number).dtype) for number, part in parts}


def _head(window: Window, number: int) -> Tensor:
    """What the first step reads of output `number`, (1, ...)."""
    heads = zip(window.loop.lags, window.frontier.heads, strict=True)
    return next(head for lag, head in heads if lag.output == number)


def _apply(jacobian: Tensor, state: Tensor) -> Tensor:
    """J_t s_t for s (n, *batch, m)."""
    if jacobian.dim() > state.dim():
        return (jacobian @ state.unsqueeze(-1)).squeeze(-1)
    return jacobian.reshape(state.shape) * state


def _largest(values: Tensor) -> Tensor:
    """The largest entry of each step, (n,)."""
    return values.reshape(len(values), -1).amax(1)
