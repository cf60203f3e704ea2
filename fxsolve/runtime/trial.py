"""Whether an emitted module may stand in for the program: it gives the recorded result, and not more slowly."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fxsolve.codegen.emit import Emitted
from fxsolve.report.difference import compare
from fxsolve.report.report import Check
from fxsolve.tracer.mutations import effects_of, rewound, separate, write
from fxsolve.tracer.program import Program

_TIMED_RUNS = 5
_CHEAP_SECONDS = 0.05  # a program faster than this is timed several times, a slower one once
_CLEAR_GAIN = 3.0  # an expected gain of this factor needs no run of the original to confirm it
_AUTOCAST_DEVICES = ("cpu", "cuda", "mps", "xpu")


_as_written: ContextVar[bool] = ContextVar("fxsolve_as_written", default=False)


@contextmanager
def as_written() -> Iterator[None]:
    """In the body, compiled objects run their originals: a program that calls one is timed as it was written."""
    token = _as_written.set(True)
    try:
        yield
    finally:
        _as_written.reset(token)


def runs_as_written() -> bool:
    """Whether `as_written` is in force here."""
    return _as_written.get()


@contextmanager
def plain_torch() -> Iterator[None]:
    """No gradients and no autocast: what was recorded holds the casts that autocast made."""
    enabled = torch._C._is_any_autocast_enabled()
    devices = [device for device in _AUTOCAST_DEVICES if enabled and torch.is_autocast_enabled(device)]
    with torch.no_grad():
        for device in devices:
            torch.set_autocast_enabled(device, False)
        try:
            yield
        finally:
            for device in devices:
                torch.set_autocast_enabled(device, True)


def check(outputs: tuple[Tensor, ...], recorded: tuple[Tensor, ...]) -> Check:
    """The difference of two results; tolerated is rounding, relative to the largest entry."""
    return compare(outputs, recorded, tolerance_of(recorded))


def tolerance_of(tensors: tuple[Tensor, ...]) -> float:
    """100 eps max(1, max |entry|), with the eps of the least precise floating-point type."""
    floating = [t.detach() for t in tensors if t.is_floating_point() or t.is_complex()]
    scale = max((float(t.abs().nan_to_num(0.0, 0.0, 0.0).max()) for t in floating if t.numel()), default=0.0)
    eps = max((torch.finfo(t.dtype).eps for t in floating), default=0.0)
    return 100 * eps * max(1.0, scale)


def run_example(emitted: Emitted, program: Program) -> tuple[tuple[Tensor, ...], float]:
    """What the module gives for the recorded inputs and draws, and the seconds that it took, side effects included."""
    inputs, effects = program.example.inputs, effects_of(program)
    with plain_torch(), rewound(program, inputs):
        start = time.perf_counter()
        noise = emitted.noise_inputs(program.example.noise)
        outputs = separate(effects, inputs, emitted.module(*inputs, *noise))
        write(effects, inputs, outputs)
        return outputs, time.perf_counter() - start


@dataclass(frozen=True)
class Race:
    """Seconds of one call each; those of the original only where it was timed."""

    original: float | None
    emitted: float


def race(original: Callable[[], float], emitted: Callable[[], float], expected: float) -> Race:
    """Time the module, and the original too unless the `expected` seconds of the original already decide it.

    Both functions run one of the two once and return the seconds that it took.
    """
    first = emitted()
    expected = max(expected, first)
    if expected > _CHEAP_SECONDS and expected > _CLEAR_GAIN * first:
        return Race(None, first)
    runs = _TIMED_RUNS if expected < _CHEAP_SECONDS else 1
    pairs = [(original(), emitted()) for _ in range(runs)]
    slow, fast = (statistics.median(times) for times in zip(*pairs, strict=True))
    return Race(slow, fast)


def seconds_of(function: Callable[[], Any]) -> float:
    """The time that one call of `function` takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
