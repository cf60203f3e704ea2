"""Loops that stop on a value, several steps at a time: what they read comes at once, and later steps are dropped."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from fxsolve.solvers.certificate import Certificate, of_own_steps
from fxsolve.solvers.chunk import Chunk
from fxsolve.solvers.compile_once import compile_kept
from fxsolve.solvers.ranges import profiled
from fxsolve.solvers.requests import publish
from fxsolve.solvers.solution import Solution
from fxsolve.solvers.until import Steps, UntilLoop, follow, own_steps, solution_of, until


class AheadChunk(Chunk):
    """Steps whose code is generated, but for the ops named in `kept`, and rounds as the program's own.

    (values of the lags, each oldest first..., shared...) -> (outputs `numbers` of each step..., reads), with what the
    steps read, condition first, in one tensor of bools.
    """

    def __init__(self, module: nn.Module, numbers: tuple[int, ...], kept: frozenset[str]) -> None:
        super().__init__(module)
        self.numbers = numbers
        self.kept = kept

    def compile_for(self, inputs: tuple[Tensor, ...]) -> Callable[..., Any]:
        return compile_kept(self.module, inputs, self.kept)


@profiled
def until_ahead(
    loop: UntilLoop,
    chunk: AheadChunk,
    initial: tuple[tuple[Tensor, ...], ...],
    per_step: tuple[Any, ...],
    shared: tuple[Any, ...],
    before: Tensor | None,
) -> tuple[Any, ...]:
    """As `until`, by a `chunk` of several steps; the device is read once for all of them.

    Where a chunk raises an error, be it that of a step that the program does not come to, or that its arguments are
    laid out as they were not before, the program's own steps run from there on.
    """
    found = follow(loop, initial, before, _chunks(loop, chunk, own_steps(loop, per_step, shared), shared))
    solution = solution_of(loop, "until_ahead", found.steps)

    def certify(one: Solution) -> Certificate:
        return _certify(one, loop, found.results, until(loop, initial, per_step, shared, before))

    publish(solution, certify)
    return found.results


def _chunks(loop: UntilLoop, chunk: AheadChunk, own: Steps, shared: tuple[Any, ...]) -> Steps:
    places = (loop.condition, *(number for number, _ in loop.checks))
    keys, width = (*places, *chunk.numbers), len(chunk.numbers)
    failed = False

    def advance(states: Sequence[Sequence[Tensor]], count: int) -> Iterable[Any]:
        nonlocal failed
        if failed:
            return own(states, count)
        try:
            *values, reads = chunk.forward(*(value for state in states for value in state), *shared)
        except Exception:  # whatever the ops of a step, or compiled code, raise
            failed = True
            return own(states, count)
        found = zip(_in_rows(reads.tolist(), len(places)), _in_rows(values, width), strict=True)
        return [dict(zip(keys, (*decisions, *outputs), strict=True)) for decisions, outputs in found]

    return advance


def _in_rows(values: Sequence[Any], width: int) -> list[Sequence[Any]]:
    return [values[first : first + width] for first in range(0, len(values), width)]


def _certify(solution: Solution, loop: UntilLoop, ours: tuple[Any, ...], own: tuple[Any, ...]) -> Certificate:
    """What the program's own steps say of it."""
    certificate = of_own_steps(solution, loop)
    pairs = list(zip(ours, own, strict=True))
    if all(torch.equal(a, b) if isinstance(a, Tensor) else a == b for a, b in pairs):
        return certificate
    gaps = [_gap(a, b) for a, b in pairs if isinstance(a, Tensor)]
    problem = "compiled steps gave other bits than the program's own"
    return replace(certificate, residual=max(gaps), bitwise=False, prefix=0, bound=None, basis="none", problem=problem)


def _gap(ours: Tensor, own: Tensor) -> float:
    if ours.shape != own.shape:  # of another number of steps
        return float("inf")
    return float((ours.double() - own.double()).abs().amax()) if ours.numel() else 0.0
