"""The decision table for one repeat.

    no step reads another         -> one Jacobi sweep, if the body can be batched
    x <- f(x) with nothing else   -> in order, stopping at the fixed point
    a buffer that is read whole   -> Jacobi only if no step provably reads its own or later entries
    otherwise                     -> the cheapest of: in order | in order, fused | Jacobi | Jacobi in windows

Costs are measured on the program's own inputs: the time of a step, the time of a sweep, and the number of sweeps that
the stop test takes. A schedule other than "in order" must be `MARGIN` times faster to be chosen. For inputs that need
more sweeps, sweeping ends where it has cost as much as running in order, so the worst case is twice that.
"""

import math
from dataclasses import dataclass, replace
from itertools import pairwise

from fxsolve.errors import PartitionError
from fxsolve.partitioner.arguments import Values
from fxsolve.partitioner.lower import has_carry, is_autonomous
from fxsolve.partitioner.unroll import can_unroll
from fxsolve.scheduler.causality import judge
from fxsolve.scheduler.decision import Candidate, Choice
from fxsolve.scheduler.probe import (
    Run,
    count_sweeps,
    first_window,
    fused_step_seconds,
    run_jacobi,
    run_sequential,
    step_seconds,
    sweep_seconds,
)
from fxsolve.scheduler.schedule import GaussSeidel, Jacobi, Schedule, Steps
from fxsolve.solvers.stop import Stop
from fxsolve.system.spec import Repeat
from fxsolve.tracer.program import TensorSpec

MARGIN = 1.2
WINDOWS = (1024, 256, 64)
SWEEP_BYTES = 2 << 30  # a whole sweep that holds more than this is not tried
FUSED_CALLS = 128  # ops in one compiled call
FUSED_STEPS = 8
FUSED_SECONDS = 5e-3  # loops shorter than this are not worth seconds of compilation
OVERHEAD_BOUND = 20e-6  # mean time of an op below which fusing pays


@dataclass(frozen=True)
class Situation:
    """One repeat, the values that it reads, and what the user allows."""

    repeat: Repeat
    values: Values
    structural: list[dict]
    stop: Stop
    backend: str


def choose(situation: Situation) -> tuple[Choice, Run]:
    """Decide for one repeat, and solve it once so that later equations can be measured."""
    repeat = situation.repeat
    if is_autonomous(repeat):
        return _choose_fixed_point(situation)
    step = step_seconds(repeat, situation.values)
    if not has_carry(repeat):
        return _choose_map(situation, step)
    return _choose_recurrence(situation, step)


def _choose_fixed_point(situation: Situation) -> tuple[Choice, Run]:
    repeat = situation.repeat
    run = run_sequential(repeat, situation.values)
    reason = f"every step is the same map: step {run.sweeps} of {repeat.length} changed nothing, bit for bit"
    if run.sweeps == repeat.length:
        reason = "every step is the same map, and each of the steps was needed"
    chosen = Candidate(str(_in_order(repeat)), "eager", run.seconds, "measured", reason)
    step = run.seconds / run.sweeps
    # A loop that settles is solved exactly, bit for bit, by stopping there: compiled steps would round otherwise.
    settles = run.sweeps <= repeat.length // 2
    fused = [] if settles else _try_fused(situation, step, run.seconds, run.seconds)
    others = tuple(trial.candidate for trial in fused)
    for trial in fused:
        if trial.sweeps is not None and trial.seconds * MARGIN < run.seconds:
            return Choice(repeat.name, trial.parts, trial.candidate, (chosen,), trial.unroll, step_seconds=step), run
    return Choice(repeat.name, (_in_order(repeat),), chosen, others, step_seconds=step, sweeps=run.sweeps), run


def _choose_map(situation: Situation, step: float) -> tuple[Choice, Run]:
    repeat = situation.repeat
    whole = Jacobi(Steps(repeat.name, 0, repeat.length))
    try:
        window = first_window(repeat, situation.values, repeat.length)
    except PartitionError as error:
        ruled_out = Candidate(str(whole), "eager", None, "not tried", str(error))
        return _sequential(situation, step, (ruled_out,))
    sweep = sweep_seconds(window)
    parallel = Candidate(str(whole), "eager", sweep, "measured", "no step reads another: one sweep")
    if sweep > step * repeat.length:
        return _sequential(situation, step, (parallel,))
    choice = Choice(repeat.name, (whole,), parallel, (_derived(repeat, step),), 0, "", step, sweep, 1)
    return choice, run_jacobi(repeat, situation.values, situation.stop, (0, repeat.length))


def _choose_recurrence(situation: Situation, step: float) -> tuple[Choice, Run]:
    repeat = situation.repeat
    in_order = step * repeat.length
    causality = judge(repeat, situation.structural)
    ruled_out = (
        [Candidate(f"jacobi({repeat.name})", "eager", None, "not tried", causality.obstacle)]
        if causality.obstacle
        else []
    )
    trials = [] if ruled_out else _try_windows(situation, step)
    swept = min((trial.seconds for trial in trials if trial.sweeps is not None), default=in_order)
    trials += _try_fused(situation, step, in_order, swept)
    rejected = [trial.candidate for trial in trials if trial.sweeps is None] + ruled_out
    finished = [trial for trial in trials if trial.sweeps is not None]
    best = min(finished, key=lambda trial: trial.seconds, default=None)
    if best is None or best.seconds * MARGIN > in_order:
        others = (*(trial.candidate for trial in finished), *rejected)
        choice, run = _sequential(situation, step, others)
        return replace(choice, causal=causality.found), run
    others = (_derived(repeat, step), *(trial.candidate for trial in finished if trial is not best), *rejected)
    choice = Choice(
        repeat.name,
        best.parts,
        best.candidate,
        others,
        best.unroll,
        causality.found,
        step,
        best.sweep,
        best.sweeps or None,
    )
    if best.unroll:
        return choice, run_sequential(repeat, situation.values)
    return choice, run_jacobi(repeat, situation.values, situation.stop, best.bounds)


def _sequential(situation: Situation, step: float, others: tuple[Candidate, ...]) -> tuple[Choice, Run]:
    run = run_sequential(situation.repeat, situation.values)
    derived = _derived(situation.repeat, step)
    chosen = replace(derived, seconds=run.seconds, basis="measured", reason="nothing else is faster")
    return Choice(situation.repeat.name, (_in_order(situation.repeat),), chosen, others, step_seconds=step), run


@dataclass(frozen=True)
class _Trial:
    """A schedule that was measured; `sweeps` is None where it did not converge in time, 0 where it needs none."""

    candidate: Candidate
    parts: tuple[Schedule, ...]
    sweeps: int | None
    sweep: float | None = None
    unroll: int = 0
    bounds: tuple[int, ...] = ()

    @property
    def seconds(self) -> float:
        assert self.candidate.seconds is not None
        return self.candidate.seconds


def _try_windows(situation: Situation, step: float) -> list[_Trial]:
    """Whole Jacobi, and windows of falling size as long as they make a sweep cheaper."""
    repeat = situation.repeat
    lengths = [repeat.length, *(size for size in WINDOWS if size * 2 <= repeat.length)]
    trials: list[_Trial] = []
    for length in lengths:
        if _sweep_bytes(repeat) * length > SWEEP_BYTES:
            continue
        trial = _try_window(situation, length, step)
        cheaper = not trials or (trial.sweep or 0) * 1.5 < (trials[-1].sweep or 0)
        if not cheaper:
            break
        trials.append(trial)
        if trial.sweep is None:
            break
    return trials


def _try_window(situation: Situation, length: int, step: float) -> _Trial:
    repeat = situation.repeat
    bounds = (*range(0, repeat.length, length), repeat.length)
    parts = tuple(Jacobi(Steps(repeat.name, low, high)) for low, high in pairwise(bounds))
    text = str(GaussSeidel(parts)) if length < repeat.length else str(Jacobi(_in_order(repeat)))
    try:
        window = first_window(repeat, situation.values, length)
    except PartitionError as error:
        return _Trial(Candidate(text, "eager", None, "not tried", str(error)), parts, None)
    sweep = sweep_seconds(window)
    limit = int(step * length / sweep)
    count = count_sweeps(window, situation.stop, min(limit, length))
    if count is None:
        reason = f"a sweep costs {sweep / step:.3g} steps, and {limit} sweeps did not converge"
        return _Trial(Candidate(text, "eager", None, "measured", reason), parts, None, sweep)
    reason = f"{count} sweeps, each at the cost of {sweep / step:.3g} steps, for every {length} steps"
    seconds = sweep * count * len(parts)
    if limit < length:
        # Other inputs may need more: sweeps that cost as much as all steps in order have had their chance.
        test = replace(situation.stop, max_sweeps=limit)
        parts = tuple(replace(part, stop=test) for part in parts)
        text = str(GaussSeidel(parts)) if length < repeat.length else str(parts[0])
    return _Trial(Candidate(text, "eager", seconds, "derived", reason), parts, count, sweep, bounds=bounds)


def _try_fused(situation: Situation, step: float, total: float, best: float) -> list[_Trial]:
    """Compile a few steps into one function, where ops are so small that their overhead dominates `total` seconds."""
    repeat = situation.repeat
    calls = len([node for node in repeat.body.graph.nodes if node.op == "call_function"])
    unroll = max(1, min(FUSED_STEPS, FUSED_CALLS // calls))
    pays = total > FUSED_SECONDS and step / calls < OVERHEAD_BOUND and best > total / 8
    if situation.backend != "inductor" or not can_unroll(repeat) or not pays or repeat.length < 4 * unroll:
        return []
    parts = (_in_order(repeat),)
    try:
        seconds = fused_step_seconds(repeat, situation.values, unroll) * repeat.length
    except Exception as error:  # inductor raises whatever its code generators and compilers raise
        reason = f"inductor failed: {str(error).strip().splitlines()[0]}"
        return [_Trial(Candidate(str(parts[0]), "inductor", None, "not tried", reason), parts, None)]
    reason = f"{unroll} steps in one compiled call"
    return [_Trial(Candidate(str(parts[0]), "inductor", seconds, "derived", reason), parts, 0, unroll=unroll)]


def _derived(repeat: Repeat, step: float) -> Candidate:
    """The cost of running in order, from the cost of a step."""
    return Candidate(str(_in_order(repeat)), "eager", step * repeat.length, "derived", "T steps")


def _in_order(repeat: Repeat) -> Steps:
    return Steps(repeat.name, 0, repeat.length)


def _sweep_bytes(repeat: Repeat) -> int:
    """Memory of all values of one step, which a sweep holds for every step of its window."""
    specs = [node.meta.get("spec") for node in repeat.body.graph.nodes if node.op == "call_function"]
    return sum(math.prod(spec.shape) * spec.dtype.itemsize for spec in specs if isinstance(spec, TensorSpec))
