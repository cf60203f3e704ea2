"""Loops whose steps are all the same map: x <- f(x), T times."""

import torch
from torch import Tensor

from fxsolve.solvers.bitwise import differs
from fxsolve.solvers.certificate import of_own_steps
from fxsolve.solvers.gauss_seidel import stack_rows
from fxsolve.solvers.loop import Loop
from fxsolve.solvers.ranges import profiled
from fxsolve.solvers.requests import publish
from fxsolve.solvers.solution import Solution, Status

_RARER = 32


@profiled
def fixed_point(loop: Loop, initial: tuple[tuple[Tensor, ...], ...], shared: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Run at most T steps of a loop without per-step inputs or buffers, whose lags all have distance 1.

    Once every carried state is bitwise equal to the one before, each later step would repeat the last one, so
    stopping there is exact. The longer a loop runs, the rarer it is asked: every step at first, then every `_RARER`th
    part of the steps done, one read of the device each. Returns the stacks (T, ...) and the last values.
    """
    body = loop.body.forward  # hooks are nobody's here, and a call through the module costs 2 us
    states = [values[0] for values in initial]
    stacks: list[list[Tensor]] = [[] for _ in loop.stacked]
    outputs: tuple[Tensor, ...] = ()
    count, asked, settled = 0, 0, False
    while count < loop.length and not settled:
        outputs = body(*states, *shared)
        newest = [outputs[lag.output] for lag in loop.lags]
        count += 1
        if count - asked >= max(1, count // _RARER):
            asked, settled = count, _same(newest, states)
        states = newest
        for stack, number in zip(stacks, loop.stacked, strict=True):
            stack.append(outputs[number])
    status: Status = "fixed point" if settled else "sequential"
    solution = Solution(loop.name, "fixed_point", loop.length, count, status, prefix=loop.length)
    publish(solution, lambda one: of_own_steps(one, loop))
    return (*(_repeat_last(stack, loop.length) for stack in stacks), *(outputs[number] for number in loop.last))


def _same(new: list[Tensor], old: list[Tensor]) -> bool:
    if any(a.shape != b.shape or a.dtype != b.dtype for a, b in zip(new, old, strict=True)):
        return False
    flags = [differs(a, b) for a, b in zip(new, old, strict=True)]
    return not flags or not bool(torch.stack(flags).any())


def _repeat_last(values: list[Tensor], length: int) -> Tensor:
    """Stack `values` and repeat the last one up to `length` entries."""
    return stack_rows([*values, *[values[-1]] * (length - len(values))])
