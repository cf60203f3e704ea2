"""Loops whose steps are all the same map: x <- f(x), T times."""

import torch
from torch import Tensor

from fxsolve.solvers.bitwise import to_bits
from fxsolve.solvers.certificate import of_own_steps
from fxsolve.solvers.gauss_seidel import stack_rows
from fxsolve.solvers.loop import Loop
from fxsolve.solvers.ranges import profiled
from fxsolve.solvers.requests import publish
from fxsolve.solvers.solution import Solution, Status

_RARER = 32
_OLDER = 8


@profiled
def fixed_point(loop: Loop, initial: tuple[tuple[Tensor, ...], ...], shared: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Run at most T steps of a loop without per-step inputs or buffers, whose lags all have distance 1.

    Once every carried state is bitwise equal to that of p steps before, all later steps repeat these p: with p = 1 each
    would repeat the last one, and rounding often ends in a cycle of p = 2 or more. Steps that complete the last round
    are run; stopping there is exact. The longer a loop runs, the rarer it is asked: every step at first, then every
    `_RARER`th part of the steps done; and what it is compared with is at most an `_OLDER`th part of them old. Returns
    the stacks (T, ...) and the last values.
    """
    body = loop.body.forward  # hooks are nobody's here, and a call through the module costs 2 us
    states = [values[0] for values in initial]
    old = list(map(_seen, states))
    stacks: list[list[Tensor]] = [[] for _ in loop.stacked]
    outputs: tuple[Tensor, ...] = ()
    count, asked, kept, period, end = 0, 0, 0, 0, loop.length
    while count < end:
        outputs = body(*states, *shared)
        states = [outputs[lag.output] for lag in loop.lags]
        for stack, number in zip(stacks, loop.stacked, strict=True):
            stack.append(outputs[number])
        count += 1
        if period or count - asked < max(1, count // _RARER):
            continue
        asked, new = count, list(map(_seen, states))
        if _same(new, old):
            period = count - kept
            end = count + (loop.length - count) % period
        elif count - kept >= max(1, count // _OLDER):
            old, kept = new, count
    status: Status = ("fixed point" if period == 1 else "periodic") if period else "sequential"
    solution = Solution(loop.name, "fixed_point", loop.length, count, status, prefix=loop.length)
    publish(solution, lambda one: of_own_steps(one, loop))
    rows = (_repeated(stack, period, loop.length) for stack in stacks)
    return (*rows, *(outputs[number] for number in loop.last))


def _seen(state: Tensor) -> tuple[torch.dtype, Tensor]:
    """A state's type and bits; to look at the bits takes as long as to compare them."""
    return state.dtype, to_bits(state)


def _same(new: list[tuple[torch.dtype, Tensor]], old: list[tuple[torch.dtype, Tensor]]) -> bool:
    """Whether all bits are equal; on a device, it is read up to the first tensor that is not."""
    return all(a[0] == b[0] and torch.equal(a[1], b[1]) for a, b in zip(new, old, strict=True))


def _repeated(rows: list[Tensor], period: int, length: int) -> Tensor:
    """Stack `rows` and repeat the last `period` of them up to `length` entries."""
    for _ in range(length - len(rows)):
        rows.append(rows[-period])
    return stack_rows(rows)
