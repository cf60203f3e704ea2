"""Gauss-Seidel over a rolled loop whose steps are compiled, several at a time, by inductor."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fxsolve.solvers.chunk import Chunk
from fxsolve.solvers.compile_once import compile_graph
from fxsolve.solvers.compiled_steps import OwnSteps, certify_compiled
from fxsolve.solvers.loop import Buffer, Loop
from fxsolve.solvers.ranges import profiled
from fxsolve.solvers.requests import publish
from fxsolve.solvers.solution import Solution


class FusedChunk(Chunk):
    """Steps whose code is inductor's, which rounds in its own way."""

    def compile_for(self, inputs: tuple[Tensor, ...]) -> Callable[..., Any]:
        return compile_graph(self.module, inputs)


@profiled
def fused_gauss_seidel(
    loop: Loop,
    chunk: nn.Module,
    unroll: int,
    initial: tuple[tuple[Tensor, ...], ...],
    buffers: tuple[Tensor, ...],
    per_step: tuple[Tensor, ...],
    shared: tuple[Tensor, ...],
    backwards: tuple[int, ...],
) -> tuple[Tensor, ...]:
    """Run the T steps in order: the first few by `loop.body`, then `unroll` of them in each call of `chunk`.

    chunk(states..., per_step (unroll, ...)..., shared..., places (unroll, ...)...) writes every output of the body
    into its place and returns the states behind the chunk. The per-step inputs whose numbers are `backwards` lie last
    step first, (T, ...), in `per_step` as in a chunk. All lags have distance 1, and the body does not read the buffers.
    """
    head = (loop.length - 1) % unroll + 1
    states = [values[0] for values in initial]
    # Compiled code expects the strides that it was compiled for: as they are, those of a slice depend on the length.
    per_step = tuple(item.contiguous() for item in per_step)
    read = [_split(item, head, unroll, number in backwards) for number, item in enumerate(per_step)]
    rows: list[tuple[Tensor, ...]] = []
    for _, *items in zip(range(head), *(first for first, _ in read), strict=True):
        rows.append(loop.body(*states, *buffers, *items, *shared))
        states = [rows[-1][lag.output] for lag in loop.lags]
    stacks = [_begin(column, loop.length) for column in zip(*rows, strict=True)]

    def arriving(t: int) -> list[Tensor]:
        return [item[-1 - t] if number in backwards else item[t] for number, item in enumerate(per_step)]

    for _, *items in zip(
        range(head, loop.length, unroll),
        *(rest for _, rest in read),
        *(stack[head:].split(unroll) for stack in stacks),
        strict=False,  # nothing, split, is one empty piece
    ):
        given, places = items[: len(read)], items[len(read) :]
        states = chunk(*(state.contiguous() for state in states), *given, *shared, *places)
    solution = Solution(loop.name, "fused_gauss_seidel", loop.length, loop.length, "sequential", prefix=loop.length)
    values = {lag.output: stacks[lag.output] for lag in loop.lags}
    publish(solution, lambda one: certify_compiled(one, OwnSteps(loop, initial, buffers, arriving, shared), values))
    filled = [_fill(buffer, spec, stacks[spec.output]) for buffer, spec in zip(buffers, loop.buffer_specs, strict=True)]
    return (*(stacks[k] for k in loop.stacked), *(stacks[k][-1].clone() for k in loop.last), *filled)


def _split(item: Tensor, head: int, unroll: int, backwards: bool) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """What the first `head` steps take of (T, ...), one by one, and the others `unroll` at a time, in their order."""
    if backwards:
        return item[len(item) - head :].unbind(0)[::-1], item[: len(item) - head].split(unroll)[::-1]
    return item[:head].unbind(0), item[head:].split(unroll)


def _begin(rows: tuple[Tensor, ...], length: int) -> Tensor:
    """A stack (length, ...) whose first entries are `rows`; the others are to be written."""
    stack = rows[0].new_empty((length, *rows[0].shape))
    torch.stack(rows, out=stack[: len(rows)])
    return stack


def _fill(buffer: Tensor, spec: Buffer, values: Tensor) -> Tensor:
    index = torch.tensor(spec.index, device=buffer.device)
    return buffer.index_copy(spec.dim, index, values.movedim(0, spec.dim))
