"""Loops whose steps are all the same map: x <- f(x), T times."""

import torch
from torch import Tensor

from fxsolve.solvers.bitwise import differs
from fxsolve.solvers.loop import Loop
from fxsolve.solvers.solution import Solution, Status, publish


def fixed_point(loop: Loop, initial: tuple[tuple[Tensor, ...], ...], shared: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Run at most T steps of a loop without per-step inputs or buffers, whose lags all have distance 1.

    Once every carried state is bitwise equal to the one before, each later step would repeat the last one, so
    stopping there is exact. Returns the stacks (T, ...) and the last values. The device is read once a step.
    """
    states = [values[0] for values in initial]
    steps: list[tuple[Tensor, ...]] = []
    settled = False
    while len(steps) < loop.length and not settled:
        outputs = loop.body(*states, *shared)
        newest = [outputs[lag.output] for lag in loop.lags]
        settled = _same(newest, states)
        states = newest
        steps.append(outputs)
    status: Status = "fixed point" if settled else "sequential"
    publish(Solution(loop.name, "fixed_point", loop.length, len(steps), status, prefix=loop.length))
    stacks = [_repeat_last([outputs[number] for outputs in steps], loop.length) for number in loop.stacked]
    return (*stacks, *(steps[-1][number] for number in loop.last))


def _same(new: list[Tensor], old: list[Tensor]) -> bool:
    if any(a.shape != b.shape or a.dtype != b.dtype for a, b in zip(new, old, strict=True)):
        return False
    flags = [differs(a, b) for a, b in zip(new, old, strict=True)]
    return not flags or not bool(torch.stack(flags).any())


def _repeat_last(values: list[Tensor], length: int) -> Tensor:
    """Stack `values` and repeat the last one up to `length` entries."""
    stack = torch.stack(values)
    if len(values) == length:
        return stack
    return torch.cat((stack, stack[-1:].expand(length - len(values), *stack.shape[1:])))
