"""Time two programs in turn on equal inputs and equal random numbers."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fxsolve.report.data import Check
from fxsolve.report.difference import compare
from fxsolve.report.units import digits, time_text
from fxsolve.torch_compat.trees import pytree

Program = Callable[..., Any]
Inputs = Callable[[], tuple[tuple[Any, ...], Mapping[str, Any]]]


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
    """Call both programs `calls` times in turn; `inputs()` makes fresh (args, kwargs) for each call.

    The tensors in `state`, into which programs may write, hold the same before both calls of a turn, and are compared
    after them.
    """
    times: tuple[list[float], list[float]] = ([], [])
    checks = []
    for seed in range(calls):
        before = _copies(state)
        expected = _timed(original, inputs, seed, times[0])
        expected, after = pytree.tree_map_only(Tensor, torch.clone, expected), _copies(state)
        for tensor, value in zip(state, before, strict=True):
            tensor.data.copy_(value)
        result = _timed(emitted, inputs, seed, times[1])
        checks.append(compare((result, _copies(state)), (expected, after), tolerance))
    worst = max(check.max_difference for check in checks)
    check = Check(worst, all(check.bitwise for check in checks), tolerance)
    return Race(calls, statistics.median(times[0]), statistics.median(times[1]), check)


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


def _timed(program: Program, inputs: Inputs, seed: int, spent: list[float]) -> Any:
    args, kwargs = inputs()
    torch.manual_seed(seed)
    start = time.perf_counter()
    result = program(*args, **kwargs)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    spent.append(time.perf_counter() - start)
    return result
