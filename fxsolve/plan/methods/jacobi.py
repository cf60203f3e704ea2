"""Jacobi: sweep all steps at once; in a window that slides, over chunks, or with smaller and smaller batches."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar

from fxsolve.errors import PartitionError, ScheduleError
from fxsolve.ir.spec import Lag, Repeat
from fxsolve.lower.lower import sweep_loop
from fxsolve.plan.decision import Candidate
from fxsolve.plan.method import Chunks, Iterative, MethodNode, Option, Part, Steps
from fxsolve.plan.probe import count_sweeps, first_window, sweep_seconds
from fxsolve.plan.proofs import BATCHED, CAUSAL, Proofs, Requirement
from fxsolve.plan.reader import TextReader
from fxsolve.plan.samples import sample_loops
from fxsolve.plan.schedule import text_of
from fxsolve.plan.solver import HeldModule, LoopSolver, Solver
from fxsolve.plan.trial import Priced, Refined, Situation, Trial, Weighed, ruled_out, step_bytes
from fxsolve.plan.try_samples import try_samples
from fxsolve.plan.windows import short, strictest, window_bounds
from fxsolve.solvers.by_sample import jacobi_by_sample
from fxsolve.solvers.jacobi import jacobi
from fxsolve.solvers.jacobi_gs import jacobi_gs
from fxsolve.solvers.samples import SMALLEST
from fxsolve.solvers.sliding import sliding
from fxsolve.solvers.stop import Stop

WINDOWS = (1024, 256, 64)
SWEEP_BYTES = 2 << 30  # a whole sweep that holds more than this is not tried


def _read_sizes(reader: TextReader) -> tuple[int, ...]:
    """size:size:..."""
    found = [reader.count("sample")]
    while reader.accept(":"):
        found.append(reader.count("sample"))
    return tuple(found)


def _write_sizes(sizes: tuple[int, ...]) -> str:
    return ":".join(map(str, sizes))


@dataclass(frozen=True)
class Jacobi(Iterative, Priced, Refined):
    """Sweep all steps, or chunks of steps, at once from the previous sweep's values until `stop`: S <- F(S).

    S are the carried values of all steps, (T, ...), and F is the step batched; T sweeps are exact. Song et al., ICML
    2021 (arXiv 2002.03629), algorithms 1 to 3.

    With a `window`, the next so many unsolved steps only: it slides behind the steps that have settled. With `samples`,
    falling sizes of a batch, the samples that have not settled are gathered into smaller batches.
    """

    name: ClassVar[str] = "jacobi"
    requires: ClassVar[tuple[Requirement, ...]] = (CAUSAL, BATCHED)
    options: ClassVar[tuple[Option, ...]] = (
        Option("window", lambda reader: reader.count("step")),
        Option("samples", _read_sizes, _write_sizes),
    )
    by_name: ClassVar[bool] = True
    chunked: ClassVar[bool] = True

    child: Steps | Chunks
    stop: Stop | None = None
    window: int | None = None
    samples: tuple[int, ...] = ()

    @property
    def takes_all(self) -> bool:
        return self.window is not None or isinstance(self.child, Chunks)

    def check(self, repeat: Repeat) -> None:
        if isinstance(self.child, Chunks):
            self._check_chunks(repeat, self.child.length)
        if self.samples:
            self._check_samples(repeat)
        if self.window is not None and self.window < 1:
            raise ScheduleError(f"{self} has a window of {self.window} steps; it needs one or more")

    def settle(self, proofs: Proofs) -> MethodNode:
        if isinstance(self.child, Chunks):
            lags = (read.distance for read in proofs.repeat.reads if isinstance(read, Lag))
            if self.child.length < (longest := max(lags, default=1)):
                raise PartitionError(f"chunks of {self.child.length} steps are shorter than the longest lag, {longest}")
        if self.samples:
            sample_loops(proofs.repeat, self.samples, [0, proofs.repeat.length])
        return self

    @classmethod
    def price(cls, situation: Situation, weighed: Weighed) -> list[Trial]:
        return _price_windows(situation, weighed.step)

    def refine(self, situation: Situation, best: Trial) -> Trial | None:
        return try_samples(situation, best)

    def lower(self, repeat: Repeat, parts: Sequence[Part], stop: Stop | None) -> Solver:
        bounds, test = window_bounds(parts), strictest(repeat, parts, stop)
        if isinstance(self.child, Chunks):
            length = self.child.length
            return LoopSolver(repeat, jacobi_gs, sweep_loop(repeat, (0, repeat.length // length)), (*test, length))
        if self.window is not None:
            first = (0, min(self.window, repeat.length))
            return LoopSolver(repeat, sliding, sweep_loop(repeat, first), (*test, self.window))
        if self.samples:
            loops = sample_loops(repeat, self.samples, bounds)
            return LoopSolver(
                repeat,
                jacobi_by_sample,
                sweep_loop(repeat, bounds),
                (*test, short(bounds)),
                (HeldModule("samples", loops),),
            )
        return LoopSolver(repeat, jacobi, sweep_loop(repeat, bounds), (*test, short(bounds)))

    def _check_chunks(self, repeat: Repeat, length: int) -> None:
        if self.window is not None:
            raise ScheduleError(f"{self} has chunks and a window; {repeat.name} takes one of the two")
        if not 1 <= length <= repeat.length:
            raise ScheduleError(f"{self} has chunks of {length} steps; {repeat.name} has {repeat.length}")

    def _check_samples(self, repeat: Repeat) -> None:
        sizes = list(self.samples)
        if self.takes_all:
            raise ScheduleError(f"{self} gathers samples; {repeat.name} takes no sliding window or chunks beside that")
        if sizes != sorted(set(sizes), reverse=True) or min(sizes) < SMALLEST:
            raise ScheduleError(f"{self} gathers samples in batches of falling sizes, each of {SMALLEST} or more")


def _price_windows(situation: Situation, step: float) -> list[Trial]:
    """Whole Jacobi, and windows of falling size as long as they make a sweep cheaper."""
    repeat = situation.repeat
    lengths = [repeat.length, *(size for size in WINDOWS if size * 2 <= repeat.length)]
    trials: list[Trial] = []
    for length in lengths:
        if step_bytes(repeat) * length > SWEEP_BYTES:
            continue
        trial = _try_window(situation, length, step)
        cheaper = not trials or (trial.sweep or 0) * 1.5 < (trials[-1].sweep or 0)
        if not cheaper:
            break
        trials.append(trial)
        if trial.sweep is None:
            break
    return trials


def _try_window(situation: Situation, length: int, step: float) -> Trial:
    repeat = situation.repeat
    bounds = (*range(0, repeat.length, length), repeat.length)
    parts = tuple(Jacobi(Steps(repeat.name, low, high)) for low, high in pairwise(bounds))
    try:
        window = first_window(repeat, situation.values, length)
    except PartitionError as error:
        return ruled_out(parts, str(error))
    try:
        sweep = sweep_seconds(window)
        limit = int(step * length / sweep)
        count = count_sweeps(window, situation.stop, min(limit, length))
    except Exception as error:  # a step raises whatever it raises of values that the program never has
        return ruled_out(parts, f"a sweep raised {type(error).__name__}: {str(error).partition(chr(10))[0]}")
    if count is None:
        tried = f"and {limit} sweeps did not converge" if limit else f"more than all {length} in order"
        reason = f"a sweep costs {sweep / step:.3g} steps, {tried}"
        return Trial(Candidate(text_of(parts), "eager", None, "measured", reason), parts, None, sweep)
    reason = f"{count} sweeps, each at the cost of {sweep / step:.3g} steps, for every {length} steps"
    seconds = sweep * count * len(parts)
    if limit < length:
        # Other inputs may need more: sweeps that cost as much as all steps in order have had their chance.
        test = replace(situation.stop, max_sweeps=limit)
        parts = tuple(replace(part, stop=test) for part in parts)
    return Trial(Candidate(text_of(parts), "eager", seconds, "derived", reason), parts, count, sweep)
