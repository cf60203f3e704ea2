"""Gauss-Seidel over a rolled loop whose steps are compiled, several at a time, by inductor."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from fxsolve.solvers.chunk import Chunk
from fxsolve.solvers.compile_once import compile_graph
from fxsolve.solvers.compiled_steps import OwnSteps, certify_compiled
from fxsolve.solvers.lazy import without_flags
from fxsolve.solvers.loop import Buffer, Loop
from fxsolve.solvers.ranges import profiled
from fxsolve.solvers.requests import publish
from fxsolve.solvers.solution import Solution
from fxsolve.solvers.window import Outputs


class FusedChunk(Chunk):
    """Steps whose code is inductor's, which rounds in its own way."""

    def compile_for(self, inputs: tuple[Tensor, ...]) -> Callable[..., Any]:
        return compile_graph(self.module, inputs)


@profiled
@torch.no_grad()
def fused_gauss_seidel(
    loop: Loop,
    chunk: FusedChunk,
    unroll: int,
    initial: tuple[tuple[Tensor, ...], ...],
    buffers: tuple[Tensor, ...],
    per_step: tuple[Tensor, ...],
    shared: tuple[Tensor, ...],
    backwards: tuple[int, ...],
) -> tuple[Tensor, ...]:
    """Run the T steps in order: the first few by `loop.body`, then `unroll` of them in each call of `chunk`.

    chunk(states..., per_step (unroll, ...)..., shared..., places...) writes every output of the body, at every step,
    into its place, where the next one finds the states behind it. The per-step inputs whose numbers are `backwards`
    lie last step first, (T, ...), in `per_step` as in a chunk. All lags have distance 1, and the body does not read the
    buffers. What it gives has no gradients.
    """
    head = (loop.length - 1) % unroll + 1
    # Compiled code expects the strides that it was compiled for: as they are, those of a slice depend on the length.
    per_step = without_flags(item.contiguous() for item in per_step)
    shared = without_flags(shared)

    def arriving(t: int) -> list[Tensor]:
        return [item[-1 - t] if number in backwards else item[t] for number, item in enumerate(per_step)]

    own = OwnSteps(loop, initial, buffers, arriving, shared)
    stacks = _begin(own, head)
    rows = [stack.unbind(0) for stack in stacks]
    items = [_rest(item, head, unroll, number in backwards) for number, item in enumerate(per_step)]
    run: Callable[..., Any] | None = None
    for number, t in enumerate(range(head, loop.length, unroll)):
        states = [rows[lag.output][t - 1] for lag in loop.lags]
        places = [place for row in rows for place in row[t : t + unroll]]
        given = (*states, *(item[number] for item in items), *shared, *places)
        run = run or chunk.code_for(given)  # those of the other calls are laid out as these are
        run(*given)
    solution = Solution(loop.name, "fused_gauss_seidel", loop.length, loop.length, "sequential", prefix=loop.length)
    values = {lag.output: stacks[lag.output] for lag in loop.lags}
    publish(solution, lambda one: certify_compiled(one, own, values))
    filled = [_fill(buffer, spec, stacks[spec.output]) for buffer, spec in zip(buffers, loop.buffer_specs, strict=True)]
    return (*(stacks[k] for k in loop.stacked), *(stacks[k][-1].clone() for k in loop.last), *filled)


def _rest(item: Tensor, head: int, unroll: int, backwards: bool) -> Sequence[Tensor]:
    """What the steps behind the first `head` take of (T, ...), `unroll` at a time, in their order."""
    return item[: len(item) - head].split(unroll)[::-1] if backwards else item[head:].split(unroll)


def _begin(own: OwnSteps, head: int) -> list[Tensor]:
    """The outputs of all steps, (T, ...), of which those of the first `head` are there."""
    states, found = [values[0] for values in own.initial], list[Outputs]()
    for t in range(head):
        found.append(own.run(t, states))
        states = [found[-1][lag.output] for lag in own.loop.lags]
    stacks = [one.new_empty((own.loop.length, *one.shape)) for one in found[0]]
    for stack, column in zip(stacks, zip(*found, strict=True), strict=True):
        torch.stack(column, out=stack[:head])
    return stacks


def _fill(buffer: Tensor, spec: Buffer, values: Tensor) -> Tensor:
    index = torch.tensor(spec.index, device=buffer.device)
    return buffer.index_copy(spec.dim, index, values.movedim(0, spec.dim))
