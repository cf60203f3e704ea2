"""Gauss-Seidel on a rolled loop: the steps in order, which is the program itself."""

from collections import deque
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from fxsolve.solvers.certificate import of_own_steps
from fxsolve.solvers.loop import Loop
from fxsolve.solvers.memory import span_of
from fxsolve.solvers.ranges import profiled
from fxsolve.solvers.requests import publish
from fxsolve.solvers.solution import Solution

_MOST_GAPS = 4  # of the memory of a stack, against that of its entries
_ALIGNED = 16  # entries: a row begins where a tensor of its own would


@profiled
def gauss_seidel(
    loop: Loop,
    initial: tuple[tuple[Tensor, ...], ...],
    buffers: tuple[Tensor, ...],
    per_step: tuple[Any, ...],
    shared: tuple[Any, ...],
) -> tuple[Tensor, ...]:
    """Run the T steps in order; `loop.body` is the body of one step.

    `initial[j]` are the `distance` values of lag j before the first step, oldest first. Each buffer is cloned once
    and then written in place. Returns the stacks (T, ...), the last values and the final buffers.
    """
    states = [deque(values, maxlen=lag.distance) for values, lag in zip(initial, loop.lags, strict=True)]
    filled = [buffer.clone() for buffer in buffers]
    stacks: list[list[Tensor]] = [[] for _ in loop.stacked]
    carried = list(zip(states, [lag.output for lag in loop.lags], strict=True))
    kept = list(zip(stacks, loop.stacked, strict=True))
    body = loop.body.forward  # hooks are nobody's here, and a call through the module costs 2 us
    outputs: tuple[Tensor, ...] = ()
    for t, *arriving in zip(range(loop.length), *map(_steps, per_step), strict=True):
        outputs = body(*[state[0] for state in states], *filled, *arriving, *shared)
        if filled:
            outputs = separate(outputs, filled)
            for buffer, spec in zip(filled, loop.buffer_specs, strict=True):
                buffer.select(spec.dim, spec.index[t]).copy_(outputs[spec.output])
        for state, number in carried:
            state.append(outputs[number])
        for stack, number in kept:
            stack.append(outputs[number])
    solution = Solution(loop.name, "gauss_seidel", loop.length, loop.length, "sequential", prefix=loop.length)
    publish(solution, lambda one: of_own_steps(one, loop))
    last = [outputs[number] for number in loop.last]
    return (*map(stack_rows, stacks), *last, *filled)


def stack_rows(rows: list[Tensor]) -> Tensor:
    """The values of all steps (T, ...), each laid out as it was, small gaps included: kernels round by the layout."""
    first = rows[0]
    span = span_of(first)
    is_plain = first.is_contiguous() or 0 in first.stride() or span > _MOST_GAPS * first.numel()
    if is_plain or (torch.is_grad_enabled() and any(row.requires_grad for row in rows)):  # autograd knows no `out`
        return torch.stack(rows)
    strides = (-(-span // _ALIGNED) * _ALIGNED, *first.stride())
    stacked = torch.empty_strided((len(rows), *first.shape), strides, dtype=first.dtype, device=first.device)
    return torch.stack(rows, out=stacked)


def _steps(item: Any) -> Iterable[Any]:
    """The values of a per-step input, one for each step."""
    return item.unbind(0) if isinstance(item, Tensor) else item


def separate(outputs: tuple[Tensor, ...], buffers: list[Tensor]) -> tuple[Tensor, ...]:
    """Clone every output that is a view of a buffer: the next write would change it."""
    stores = {buffer.untyped_storage().data_ptr() for buffer in buffers}
    return tuple(value.clone() if value.untyped_storage().data_ptr() in stores else value for value in outputs)
