"""Gauss-Seidel over a rolled loop whose steps are compiled, several at a time, by inductor."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import cycle, repeat
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
from fxsolve.torch_compat.tensors import copy_each

# Bytes of a row up to which copying it costs less than a view of it: measured on a CPU, 0.1 against 0.35 to 0.9 us.
SMALL_ROW = 4096


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

    chunk(states..., per_step..., shared..., places...) writes every output of the body, at every step, into its place,
    where the next one finds the states behind it. Of a per-step input it takes `unroll` rows, one by one if all these
    inputs are on a CPU, and else as one tensor; those whose numbers are `backwards` lie last step first, in `per_step`
    (T, ...) too. All lags have distance 1, and the body does not read the buffers. What it gives has no gradients.
    """
    head = (loop.length - 1) % unroll + 1
    # Compiled code expects the strides that it was compiled for: as they are, those of a slice depend on the length.
    per_step = without_flags(item.contiguous() for item in per_step)
    shared = without_flags(shared)

    def arriving(t: int) -> list[Tensor]:
        return [item[-1 - t] if number in backwards else item[t] for number, item in enumerate(per_step)]

    own = OwnSteps(loop, initial, buffers, arriving, shared)
    stacks = _begin(own, head)
    items = [_rest(item, head, unroll, number in backwards) for number, item in enumerate(per_step)]
    states = [stacks[lag.output][head - 1] for lag in loop.lags]
    run: Callable[..., Any] | None = None
    for places, rows in zip(_places([stack[head:] for stack in stacks], unroll), _arriving(items), strict=False):
        given = (*states, *rows, *shared, *places)
        run = run or chunk.code_for(given)  # those of the other calls are laid out as these are
        run(*given)
        states = [places[(lag.output + 1) * unroll - 1] for lag in loop.lags]
    solution = Solution(loop.name, "fused_gauss_seidel", loop.length, loop.length, "sequential", prefix=loop.length)
    values = {lag.output: stacks[lag.output] for lag in loop.lags}
    publish(solution, lambda one: certify_compiled(one, own, values))
    filled = [_fill(buffer, spec, stacks[spec.output]) for buffer, spec in zip(buffers, loop.buffer_specs, strict=True)]
    return (*(stacks[k] for k in loop.stacked), *(stacks[k][-1].clone() for k in loop.last), *filled)


def _places(stacks: Sequence[Tensor], unroll: int) -> Iterator[list[Tensor]]:
    """Where the next `unroll` steps write their outputs, those of one output in a row, until all rows are there."""
    if not len(stacks[0]):
        return iter(())
    chunks = zip(*(stack.split(unroll) for stack in stacks), strict=True)
    if _are_small(stacks):
        return _in_blocks(chunks, [one[:unroll] for one in stacks])
    return (_rows_of(chunk) for chunk in chunks)


def _in_blocks(chunks: Iterator[tuple[Tensor, ...]], first: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Rows of blocks, copied into the `chunks` behind the steps; two in turn, for the next steps read the states."""
    twice = [list(map(torch.empty_like, first)) for _ in range(2)]
    places = map(_rows_of, twice)
    for chunk, blocks, rows in zip(chunks, cycle(twice), cycle(places), strict=False):
        yield rows
        copy_each(chunk, blocks)


def _arriving(items: Sequence[Sequence[Tensor]]) -> Iterator[Sequence[Tensor]]:
    """What each call takes of the per-step inputs; by rows of their own, the steps of a call are the same code."""
    if not items:
        return repeat(())
    first, chunks = [item[0] for item in items], zip(*items, strict=True)
    if any(one.device.type != "cpu" for one in first):
        return chunks
    return _from_blocks(chunks, first) if _are_small(first) else (_rows_of(chunk) for chunk in chunks)


def _from_blocks(chunks: Iterator[tuple[Tensor, ...]], first: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    blocks = list(map(torch.empty_like, first))
    rows = _rows_of(blocks)
    for chunk in chunks:
        copy_each(blocks, chunk)
        yield rows


def _are_small(tensors: Sequence[Tensor]) -> bool:
    """Whether rows are better copied than looked at."""
    return all(one.device.type == "cpu" and one[:1].nbytes <= SMALL_ROW for one in tensors)


def _rows_of(chunks: Iterable[Tensor]) -> list[Tensor]:
    return [row for chunk in chunks for row in chunk.unbind(0)]


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
