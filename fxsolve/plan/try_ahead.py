"""Price steps that are computed before it is known whether there are any, several of them in one compiled call."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fxsolve.ir.spec import Repeat
from fxsolve.lower.ahead import no_look_ahead
from fxsolve.plan.budget import most_ops
from fxsolve.plan.decision import Candidate
from fxsolve.plan.lower import lower
from fxsolve.plan.method import Part
from fxsolve.plan.probe import ProbeRun, run_parts
from fxsolve.plan.purse import GraphRequest
from fxsolve.plan.schedule import text_of
from fxsolve.plan.solver import HeldModule, LoopSolver
from fxsolve.plan.trial import Situation, Trial, ruled_out

STEPS = (8, 4, 2)
MOST_CALLS = 200  # ops in one compiled call
OVERHEAD_BOUND = 20e-6  # mean time of an op below which generated code pays
# Behind seconds of compilation, milliseconds that other programs may disturb less.
_MEASUREMENTS = 3
_MOST_MEASUREMENTS = 12
_ENOUGH_SECONDS = 0.1


def try_ahead(situation: Situation, best: Trial) -> Trial | None:
    """The steps of `best`, which run one by one, several at a time; None where that promises nothing.

    It is ruled out where the results differ in a bit, or in how they are laid out.
    """
    repeat, parts = situation.repeat, best.parts
    calls = sum(node.op == "call_function" for node in repeat.body.graph.nodes) or 1
    saved, steps = best.seconds * situation.solves, max(best.sweeps or 0, 1)
    is_short = saved <= situation.purse.least_seconds
    if situation.backend != "inductor" or is_short or best.seconds / steps / calls >= OVERHEAD_BOUND:
        return None
    obstacle = no_look_ahead(repeat)
    if obstacle is not None:
        return ruled_out(parts, f"no step is computed ahead: {obstacle}", "inductor")
    ahead = steps_ahead(steps, calls, most_ops(saved, situation.purse.runs))
    if ahead == 0:
        return None
    tried: tuple[Any, ...] = parts
    tried = tuple(replace(part, ahead=ahead) for part in tried)
    predicted = steps * situation.solves * situation.purse.prices.compiled(best.seconds / steps, calls)
    asked = GraphRequest(repeat.name, (repeat.body.code, ahead), ahead * calls, saved, saved, predicted)
    if reason := situation.purse.refuse(asked):
        return ruled_out(tried, reason, "inductor")
    return _measured(situation, best, tried, ahead)


def steps_ahead(length: int, calls: int, most: int) -> int:
    """The steps of so many `calls` in one compiled call of at most `most` ops; 0 where no number of them will do.

    On average half of them are computed for nothing in the last call.
    """
    numbers = (n for n in STEPS if n * calls <= min(most, MOST_CALLS) and n <= length)
    return next(numbers, 0)


def _measured(situation: Situation, best: Trial, tried: tuple[Part, ...], ahead: int) -> Trial:
    try:
        _compile(situation, tried)
    except Exception as error:  # inductor raises whatever its code generators and compilers raise
        return ruled_out(tried, f"inductor failed: {str(error).strip().splitlines()[0]}", "inductor")
    runs = [_run_both(situation, best.parts, tried) for _ in range(_MEASUREMENTS)]
    while len(runs) < _MOST_MEASUREMENTS and sum(run.seconds for pair in runs for run in pair) < _ENOUGH_SECONDS:
        runs.append(_run_both(situation, best.parts, tried))
    plain, compiled = runs[0]
    if not _is_same(situation.repeat, plain, compiled):
        return ruled_out(tried, "compiled steps give other bits than the program's own", "inductor")
    own, seconds = (min(run.seconds for run in column) for column in zip(*runs, strict=True))
    reason = f"{ahead} steps in one compiled call, {seconds / own:.0%} of the time of one by one"
    # `best` was measured once; the two compare by what they took side by side.
    candidate = Candidate(text_of(tried), "inductor", best.seconds * seconds / own, "measured", reason)
    return Trial(candidate, tried, compiled.sweeps)


def _compile(situation: Situation, tried: Sequence[Part]) -> None:
    """Compile the steps; where they are run, an error would make them run one by one."""
    solver = lower(situation.repeat, tried, situation.stop)
    assert isinstance(solver, LoopSolver)
    initial, _, shared, _ = solver.arguments(situation.repeat, situation.values)
    for extra in solver.extras:
        if isinstance(extra, HeldModule):
            extra.module(*(value for values in initial for value in values), *shared)


def _run_both(situation: Situation, own: Sequence[Part], tried: Sequence[Part]) -> tuple[ProbeRun, ProbeRun]:
    one, other = (run_parts(situation.repeat, situation.values, parts, situation.stop) for parts in (own, tried))
    return one, other


def _is_same(repeat: Repeat, one: ProbeRun, other: ProbeRun) -> bool:
    pairs = [(one.results[write.name], other.results[write.name]) for write in repeat.writes]
    return one.sweeps == other.sweeps and all(_equal(*pair) for pair in pairs)


def _equal(one: Any, other: Any) -> bool:
    if not isinstance(one, Tensor):
        return one == other
    return torch.equal(one, other) and one.stride() == other.stride()
