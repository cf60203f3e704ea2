"""The steps of a window one by one, with the body of a sweep: how a window ends that sweeps do not solve."""

from collections import deque

import torch
from torch import Tensor

from fxsolve.solvers.gauss_seidel import separate
from fxsolve.solvers.window import Window


def run_in_order(window: Window) -> tuple[Tensor, ...]:
    """Every output of the window as a stack (n, ...); its buffers are cloned once and then written in place."""
    loop = window.loop
    states = [deque(head.split(1), maxlen=len(head)) for head in window.frontier.heads]
    buffers = [buffer.clone() for buffer in window.frontier.buffers]
    steps: list[tuple[Tensor, ...]] = []
    for t, *arriving in zip(
        range(window.start, window.stop), *(item.split(1) for item in window.per_step), strict=True
    ):
        outputs = loop.body(*[state[0] for state in states], *buffers, *arriving, *window.given.shared)
        if buffers:
            outputs = separate(outputs, buffers)
        for buffer, spec in zip(buffers, loop.buffer_specs, strict=True):
            buffer.select(spec.dim, spec.index[t]).copy_(outputs[spec.output][0])
        for state, lag in zip(states, loop.lags, strict=True):
            state.append(outputs[lag.output])
        steps.append(outputs)
    return tuple(torch.cat(stacks) for stacks in zip(*steps, strict=True))
