"""Time programs in turn on equal inputs and equal random numbers."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from fxsolve.report.data import Check
from fxsolve.report.difference import compare
from fxsolve.report.units import digits, time_text
from fxsolve.torch_compat.trees import pytree

Program = Callable[..., Any]
Inputs = Callable[[], tuple[tuple[Any, ...], Mapping[str, Any]]]


T = TypeVar("T")


@dataclass(frozen=True)
class Timing(Generic[T]):
    """The seconds of each call of a program, and what is said of its result beside that of the first program."""

    seconds: tuple[float, ...]
    checks: tuple[T, ...]


@dataclass(frozen=True)
class Race:
    """Median seconds of one call of each program, and the largest difference between results of equal calls."""

    calls: int
    original_seconds: float
    emitted_seconds: float
    check: Check


def race(
    original: Program, emitted: Program, inputs: Inputs, calls: int, tolerance: float, state: Sequence[Tensor] = ()
) -> Race:
    """Both programs in turn, `calls` times."""
    judge = partial(compare, tolerance=tolerance)
    slow, fast = in_turn((original, emitted), inputs, calls, judge, state)
    worst = max(check.max_difference for check in fast.checks)
    check = Check(worst, all(check.bitwise for check in fast.checks), tolerance)
    return Race(calls, statistics.median(slow.seconds), statistics.median(fast.seconds), check)


def in_turn(
    programs: Sequence[Program],
    inputs: Inputs,
    calls: int,
    judge: Callable[[Any, Any], T],
    state: Sequence[Tensor] = (),
) -> tuple[Timing[T], ...]:
    """Call each program `calls` times, in turn; `inputs()` makes fresh (args, kwargs) for each call.

    The tensors in `state`, into which programs may write, hold the same before all calls of a turn, and belong to what
    `judge(result, expected)` is handed: (value, state after the call), of the program and of the first one.
    """
    turns = [list(_turn(programs, inputs, seed, judge, state)) for seed in range(calls)]
    return tuple(
        Timing(tuple(seconds for seconds, _ in calls_of_one), tuple(check for _, check in calls_of_one))
        for calls_of_one in zip(*turns, strict=True)
    )


def _turn(
    programs: Sequence[Program], inputs: Inputs, seed: int, judge: Callable[[Any, Any], T], state: Sequence[Tensor]
) -> Iterator[tuple[float, T]]:
    before, expected = _copies(state), None
    for program in programs:
        for tensor, value in zip(state, before, strict=True):
            tensor.data.copy_(value)
        value, seconds = _timed(program, inputs, seed)
        result = value, _copies(state)
        # A program may give the same memory in every call.
        expected = pytree.tree_map_only(Tensor, torch.clone, result) if expected is None else expected
        yield seconds, judge(result, expected)


def race_text(result: Race, schedule: str) -> str:
    """The times, their ratio and the difference, one per line."""
    check = result.check
    difference = "bitwise equal" if check.bitwise else f"{check.max_difference:.3g} (tolerance {check.tolerance:g})"
    rows = (
        ("original", time_text(result.original_seconds)),
        ("compiled", f"{time_text(result.emitted_seconds)}  {schedule}"),
        ("ratio", f"{digits(result.original_seconds / result.emitted_seconds)}x, medians of {result.calls} calls each"),
        ("difference", difference),
    )
    return "\n".join(f"{name:<12}{value}" for name, value in rows)


def _copies(state: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in state]


def _timed(program: Program, inputs: Inputs, seed: int) -> tuple[Any, float]:
    args, kwargs = inputs()
    torch.manual_seed(seed)
    start = time.perf_counter()
    result = program(*args, **kwargs)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result, time.perf_counter() - start
