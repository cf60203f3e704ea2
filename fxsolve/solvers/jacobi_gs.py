"""Jacobi-GS: chunks of steps in order inside, all chunks at once outside.

Song et al., "Accelerating Feedforward Computation via Parallel Nonlinear Equation Solving", ICML 2021 (arXiv
2002.03629), algorithm 2. It is Jacobi on the loop whose one step is a whole chunk.
"""

from collections import deque
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from fxsolve.errors import ScheduleError
from fxsolve.solvers.gauss_seidel import separate
from fxsolve.solvers.in_order import run_in_order
from fxsolve.solvers.iterate import Solved, iterate
from fxsolve.solvers.jacobi import JacobiSolver
from fxsolve.solvers.loop import Buffer, Loop, LoopLag
from fxsolve.solvers.ranges import profiled
from fxsolve.solvers.stop import Stop
from fxsolve.solvers.window import Frontier, Given, Outputs, Window, advance, open_window, unknowns
from fxsolve.solvers.windows import Initial, conclude, receive


class ChunkedSteps(nn.Module):
    """n chunks of steps, in order inside each and side by side: n steps of the loop in every call of its body.

    Takes, for every lag, the chunk before each of them, (n, chunk, ...); for every buffer its entries, (m, chunk, ...);
    the per-step inputs of the loop, then the places in the buffers, (n, chunk, ...); the shared values, then the
    buffers as they were before the loop. Returns every output of the body, (n, chunk, ...).
    """

    def __init__(self, loop: Loop, chunk: int, arriving: int) -> None:
        super().__init__()
        self.loop = loop
        self.chunk = chunk
        self.arriving = arriving

    def forward(self, *reads: Tensor) -> tuple[Tensor, ...]:
        lags, specs = self.loop.lags, self.loop.buffer_specs
        sizes = [len(lags), len(specs), self.arriving, len(specs)]
        lagged, entries, arriving, places, rest = _split(reads, sizes)
        shared, before = rest[: len(rest) - len(specs)], rest[len(rest) - len(specs) :]
        states = [
            deque(value[:, -lag.distance :].unbind(1), maxlen=lag.distance)
            for value, lag in zip(lagged, lags, strict=True)
        ]
        buffers = [_fill(*each) for each in zip(before, specs, entries, strict=True)]
        steps: list[tuple[Tensor, ...]] = []
        for i in range(self.chunk):
            now = [item[:, i] for item in arriving]
            outputs = separate(self.loop.body(*[state[0] for state in states], *buffers, *now, *shared), buffers)
            for buffer, spec, place in zip(buffers, specs, places, strict=True):
                buffer.index_copy_(spec.dim, place[:, i], outputs[spec.output].movedim(0, spec.dim))
            for state, lag in zip(states, lags, strict=True):
                state.append(outputs[lag.output])
            steps.append(outputs)
        return tuple(torch.stack(values, 1) for values in zip(*steps, strict=True))


@profiled
def jacobi_gs(
    loop: Loop,
    initial: Initial,
    buffers: tuple[Tensor, ...],
    per_step: tuple[Any, ...],
    shared: tuple[Any, ...],
    atol: float,
    rtol: float,
    max_sweeps: int | None,
    chunk: int,
) -> Outputs:
    """Solve x_t = f(x_<t) by sweeps over m = T // chunk chunks at once, each chunk in order; the rest in order.

    `loop.body` is called with stacks of m steps, `chunk` apart, and of one step. After m sweeps the result is exact.
    Otherwise as `jacobi`. Raises `ScheduleError` if `chunk` is more than T, or less than 1 or than the longest lag.
    """
    _check_chunk(loop, chunk)
    stop = Stop(atol, rtol, max_sweeps)
    equations = receive(loop, initial, buffers, per_step, shared, stop, _batches(loop.length, chunk))
    given, start = equations.given, equations.start
    solved = [_solve_chunks(given, start, stop, chunk)]
    first = open_window(given, start, loop.length // chunk * chunk)
    frontier = advance(first, unknowns(loop, solved[0].outputs))
    if first.stop < loop.length:
        rest = open_window(given, frontier, loop.length)
        solved.append(Solved(run_in_order(rest), rest.length, "exact", 0.0, rest.length))
        frontier = advance(rest, unknowns(loop, solved[-1].outputs))
    return conclude("jacobi_gs", equations, solved, frontier)


def _batches(length: int, chunk: int) -> list[slice]:
    """The steps that are `chunk` apart, and one by one those behind the last whole chunk."""
    swept = length // chunk * chunk
    return [*(slice(i, swept, chunk) for i in range(chunk)), *(slice(t, t + 1) for t in range(swept, length))]


def _check_chunk(loop: Loop, chunk: int) -> None:
    longest = max((lag.distance for lag in loop.lags), default=1)
    if not longest <= chunk <= loop.length:
        raise ScheduleError(f"{loop.name} has chunks of {chunk} steps; it needs {longest} to {loop.length}")


def _solve_chunks(given: Given, frontier: Frontier, stop: Stop, chunk: int) -> Solved:
    """All whole chunks, as `Solved` for their steps."""
    solved = iterate(JacobiSolver(stop), _open_chunks(given, frontier, chunk))
    return replace(solved, outputs=tuple(map(_to_steps, solved.outputs)), final=solved.final * chunk)


def _open_chunks(given: Given, frontier: Frontier, chunk: int) -> Window:
    """The window of the loop whose one step is a chunk."""
    loop, number = given.loop, given.loop.length // chunk
    chunked = Loop(
        ChunkedSteps(loop, chunk, len(given.per_step)),
        number,
        tuple(LoopLag(lag.output, 1) for lag in loop.lags),
        tuple(Buffer(spec.output, 0, tuple(range(number))) for spec in loop.buffer_specs),
        name=loop.name,
        chunk=chunk,
    )

    def by_chunk(item: Tensor) -> Tensor:
        return item[: number * chunk].unflatten(0, (number, chunk))

    buffered = list(zip(loop.buffer_specs, frontier.buffers, strict=True))
    places = [torch.tensor(spec.index, device=buffer.device) for spec, buffer in buffered]
    entries = [
        by_chunk(buffer.index_select(spec.dim, place).movedim(spec.dim, 0))
        for (spec, buffer), place in zip(buffered, places, strict=True)
    ]
    heads = tuple(_to_chunk(head, chunk).unsqueeze(0) for head in frontier.heads)
    per_step = tuple(map(by_chunk, (*given.per_step, *places)))
    chunks = Given(chunked, per_step, (*given.shared, *frontier.buffers))
    return open_window(chunks, Frontier(0, heads, tuple(entries)), number)


def _to_chunk(head: Tensor, chunk: int) -> Tensor:
    """(distance, ...) values as a chunk whose last ones they are; only those are read."""
    return torch.cat((head[:1].expand(chunk - len(head), *head.shape[1:]), head))


def _to_steps(stack: Tensor) -> Tensor:
    return stack.flatten(0, 1)


def _split(values: tuple[Tensor, ...], sizes: list[int]) -> list[tuple[Tensor, ...]]:
    """Runs of `sizes` values, and what is left."""
    parts: list[tuple[Tensor, ...]] = []
    for size in sizes:
        parts.append(values[:size])
        values = values[size:]
    return [*parts, values]


def _fill(buffer: Tensor, spec: Buffer, entries: Tensor) -> Tensor:
    values = entries.flatten(0, 1)
    place = torch.tensor(spec.index[: len(values)], device=buffer.device)
    return buffer.index_copy(spec.dim, place, values.movedim(0, spec.dim))
