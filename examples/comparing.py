"""Runs a program as written and through fxsolve, and says how the two compare."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import fxsolve
from fxsolve.solvers.solution import Solution, observe

Program = Callable[..., Tensor]


def timed(program: Program, inputs: tuple[Tensor, ...] = ()) -> tuple[Tensor, float]:
    """The program's output from random seed 1, and the seconds that it took, with gradients off."""
    torch.manual_seed(1)
    synchronise()
    start = time.perf_counter()
    with torch.no_grad():
        output = program(*inputs)
    synchronise()
    return output, time.perf_counter() - start


def synchronise() -> None:
    """Wait for the device, so that a clock read next to this call is right."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def compiled(program: Program, inputs: tuple[Tensor, ...] = (), schedule: str = "auto") -> tuple[Any, float]:
    """`fxsolve.compile(program, inputs)`, compiled at once, without gradients; the seconds, with the first call."""
    start = time.perf_counter()
    with torch.no_grad():
        fast = fxsolve.compile(program, inputs, schedule=schedule, mode="max-autotune")
    timed(fast, inputs)
    return fast, time.perf_counter() - start


def solutions(fast: Program, inputs: tuple[Tensor, ...] = ()) -> list[Solution]:
    """What each solver did in one call."""
    with observe() as seen:
        timed(fast, inputs)
    return seen


def difference(one: Tensor, other: Tensor) -> str:
    """ "bit-identical", or the largest difference."""
    if torch.equal(one, other):
        return "bit-identical"
    return f"largest difference {(one - other).abs().max().item():.1e}"


def compare(title: str, program: Program, inputs: tuple[Tensor, ...] = ()) -> Tensor:
    """Print both times, the sweeps of every solved loop and the difference; returns the output of the fast one."""
    fast, capture = compiled(program, inputs)
    plain, slow_seconds = timed(program, inputs)
    output, fast_seconds = timed(fast, inputs)
    sweeps = ", ".join(f"{seen.sweeps} of {seen.length}" for seen in solutions(fast, inputs))
    print(f"{title}: schedule {fast.schedule}")
    print(f"  as written {slow_seconds * 1e3:.1f} ms, through fxsolve {fast_seconds * 1e3:.1f} ms", end="")
    print(f" ({slow_seconds / fast_seconds:.1f}x), {difference(plain, output)}")
    print(f"  sweeps: {sweeps}; capture and first call, once: {capture:.1f} s")
    return output
