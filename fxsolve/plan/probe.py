"""Measure one repeat on its real inputs: what a step costs, what a sweep costs, how many sweeps it takes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from fxsolve.economy.clock import timed
from fxsolve.ir.spec import Repeat
from fxsolve.lower.arguments import Values, sweep_arguments
from fxsolve.lower.lower import sweep_loop
from fxsolve.plan.lower import lower
from fxsolve.plan.method import Part, whole
from fxsolve.plan.solver import Results
from fxsolve.solvers.by_sample import JacobiBySample
from fxsolve.solvers.jacobi import JacobiSolver
from fxsolve.solvers.norms import measure
from fxsolve.solvers.samples import SampleLoops
from fxsolve.solvers.solution import observe
from fxsolve.solvers.stop import Stop
from fxsolve.solvers.window import Frontier, Given, Window, first_guess, open_window, sweep

PROBED_STEPS = 24
_REPETITIONS = 3
_MOST_REPETITIONS = 12
_CHEAP_SECONDS = 5e-3
_TEST = Stop(1e-6, 1e-6)  # any test with tolerances costs the same


@dataclass(frozen=True)
class ProbeRun:
    """One solve: its results by name, how long it took, and how many sweeps or steps."""

    results: Results
    seconds: float
    sweeps: int


def run_parts(repeat: Repeat, values: Values, parts: Sequence[Part], stop: Stop | None = None) -> ProbeRun:
    """All steps as the parts of a schedule say."""
    solve = lower(repeat, parts, stop).bind(values)
    with torch.no_grad(), observe() as solutions:
        results, seconds = timed(solve)
    return ProbeRun(results, seconds, solutions[-1].sweeps if solutions else 1)


def step_seconds(repeat: Repeat, values: Values) -> float:
    """Time of one step, the least over short runs of the first steps."""
    first = shorten(repeat, min(repeat.length, PROBED_STEPS))
    return least_seconds(lower(first, (whole(first),)).bind(values)) / first.length


def first_window(repeat: Repeat, values: Values, length: int) -> Window:
    """The first `length` steps, ready to be swept."""
    loop = sweep_loop(shorten(repeat, length), (0, length))
    arguments = sweep_arguments(repeat, values)
    given = Given(loop, tuple(item[:length] for item in arguments.per_step), arguments.shared)
    heads = tuple(torch.stack(initial) for initial in arguments.initial)
    return open_window(given, Frontier(0, heads, arguments.buffers), length)


def sweep_seconds(window: Window) -> float:
    """Time of one sweep of a window and of the test of what it changed."""
    guess = first_guess(window)

    def run() -> None:
        outputs = sweep(window, guess)
        measure(((outputs[number], values) for number, values in guess.items()), _TEST)

    return least_seconds(run)


def count_sweeps(window: Window, stop: Stop, limit: int) -> int | None:
    """Sweeps until the stop test holds, or None after `limit` of them or at a non-finite value."""
    if limit < 1:
        return None
    method = JacobiSolver(replace(stop, max_sweeps=limit))
    state = method.init(window)
    while (verdict := method.terminate(state)) is None:
        state = method.step(state)
    return None if verdict == "unsolved" else len(state.sizes)


def count_awake(window: Window, dims: Mapping[int, int], stop: Stop) -> tuple[int, ...]:
    """How many samples of the batch had not settled at each look; `dims` are those of the samples in the unknowns."""
    method = JacobiBySample(stop, SampleLoops({}, (), dims))
    state = method.init(window)
    while method.terminate(state) is None:
        state = method.step(state)
    return state.sampled.awake


def shorten(repeat: Repeat, length: int) -> Repeat:
    """The first `length` steps of a repeat."""
    if length == repeat.length:
        return repeat
    return replace(repeat, length=length, reads=tuple(read.shortened(length) for read in repeat.reads))


def least_seconds(run: Callable[[], object]) -> float:
    """The shortest time of a few runs after one warm-up, waiting for the device; other programs only add to it."""
    run()
    times = [timed(run)[1] for _ in range(_REPETITIONS)]
    while len(times) < _MOST_REPETITIONS and sum(times) < _CHEAP_SECONDS:
        times.append(timed(run)[1])
    return min(times)
