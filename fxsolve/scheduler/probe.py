"""Measure one repeat on its real inputs: what a step costs, what a sweep costs, how many sweeps it takes."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fxsolve.partitioner.arguments import Values, step_arguments, sweep_arguments
from fxsolve.partitioner.lower import is_autonomous, results_of, step_loop, sweep_loop
from fxsolve.partitioner.readable import readable
from fxsolve.partitioner.unroll import chunk_graph
from fxsolve.solvers.fixed_point import fixed_point
from fxsolve.solvers.fuse import Fused, fused_gauss_seidel
from fxsolve.solvers.gauss_seidel import gauss_seidel
from fxsolve.solvers.jacobi import jacobi
from fxsolve.solvers.norms import measure
from fxsolve.solvers.solution import observe
from fxsolve.solvers.stop import Stop, tighten
from fxsolve.solvers.window import Frontier, Given, Window, first_guess, open_window, sweep
from fxsolve.system.spec import Prefix, Repeat, Slices, Stacked, Table

PROBED_STEPS = 24
_REPETITIONS = 3

Results = dict[str, Tensor]


@dataclass(frozen=True)
class Run:
    """One solve: its results by name, how long it took, and how many sweeps or steps."""

    results: Results
    seconds: float
    sweeps: int


def run_sequential(repeat: Repeat, values: Values) -> Run:
    """All steps in order."""
    loop, arguments = step_loop(repeat), step_arguments(repeat, values)
    if is_autonomous(repeat):
        return _run(repeat, lambda: fixed_point(loop, arguments.initial, arguments.shared))
    return _run(repeat, lambda: gauss_seidel(loop, *arguments.flat()))


def run_jacobi(repeat: Repeat, values: Values, stop: Stop, bounds: tuple[int, ...]) -> Run:
    """Sweeps over the windows between `bounds`."""
    loop, arguments = sweep_loop(repeat, bounds), sweep_arguments(repeat, values)
    options = (stop.atol, stop.rtol, stop.max_sweeps, bounds)
    return _run(repeat, lambda: jacobi(loop, *arguments.flat(), *options))


def step_seconds(repeat: Repeat, values: Values) -> float:
    """Time of one step, the median over short runs of the first steps."""
    first = shorten(repeat, min(repeat.length, PROBED_STEPS))
    loop, arguments = step_loop(first), step_arguments(first, values)
    return median_seconds(lambda: gauss_seidel(loop, *arguments.flat())) / first.length


def fused_step_seconds(repeat: Repeat, values: Values, unroll: int) -> float:
    """Time of one step when `unroll` of them are compiled into one call; compiles it."""
    first = shorten(repeat, min(repeat.length // unroll, PROBED_STEPS) * unroll)
    loop, arguments = step_loop(first), sweep_arguments(first, values)
    chunk = Fused(readable(chunk_graph(first, unroll)))
    return median_seconds(lambda: fused_gauss_seidel(loop, chunk, unroll, *arguments.flat())) / first.length


def first_window(repeat: Repeat, values: Values, length: int) -> Window:
    """The first `length` steps, ready to be swept."""
    arguments = sweep_arguments(repeat, values)
    loop = sweep_loop(shorten(repeat, length), (0, length))
    given = Given(loop, tuple(item[:length] for item in arguments.per_step), arguments.shared)
    heads = tuple(torch.stack(initial) for initial in arguments.initial)
    return open_window(given, Frontier(0, heads, arguments.buffers), length)


def sweep_seconds(window: Window) -> float:
    """Time of one sweep of a window."""
    guess = first_guess(window)
    return median_seconds(lambda: sweep(window, guess))


def count_sweeps(window: Window, stop: Stop, limit: int) -> int | None:
    """Sweeps until the stop test holds, or None after `limit` of them or at a non-finite value."""
    newest = first_guess(window)
    sizes: list[float] = []
    for count in range(1, limit + 1):
        guess = newest
        outputs = sweep(window, guess)
        newest = {number: outputs[number] for number in guess}
        change = measure(((values, guess[number]) for number, values in newest.items()), tighten(stop, sizes))
        sizes.append(change.size)
        if change.exact or change.converged:
            return count
        if not change.finite and count > 1:
            return None
    return None


def shorten(repeat: Repeat, length: int) -> Repeat:
    """The first `length` steps of a repeat."""
    if length == repeat.length:
        return repeat
    reads = []
    for read in repeat.reads:
        match read:
            case Stacked(sources):
                reads.append(Stacked(sources[:length]))
            case Slices() | Prefix():
                reads.append(replace(read, index=read.index[:length]))
            case Table(numbers):
                reads.append(Table(numbers[:length]))
            case _:
                reads.append(read)
    return replace(repeat, length=length, reads=tuple(reads))


def median_seconds(run: Callable[[], object]) -> float:
    """The median time of a few runs after one warm-up, waiting for the device."""
    run()
    times = sorted(_seconds(run) for _ in range(_REPETITIONS))
    return times[_REPETITIONS // 2]


def _seconds(run: Callable[[], object]) -> float:
    synchronize()
    start = time.perf_counter()
    run()
    synchronize()
    return time.perf_counter() - start


def synchronize() -> None:
    """Wait until the accelerator, if there is one, has done what was asked of it."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def _run(repeat: Repeat, solve: Callable[[], tuple[Tensor, ...]]) -> Run:
    with torch.no_grad(), observe() as solutions:
        synchronize()
        start = time.perf_counter()
        flat = solve()
        synchronize()
        seconds = time.perf_counter() - start
    results = {name: flat[position] for name, position in results_of(repeat).items()}
    return Run(results, seconds, solutions[-1].sweeps)
