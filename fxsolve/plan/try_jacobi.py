"""Price Jacobi sweeps over all steps, and over windows of them."""

from dataclasses import replace
from itertools import pairwise

from fxsolve.errors import PartitionError
from fxsolve.plan.decision import Candidate
from fxsolve.plan.method import Steps
from fxsolve.plan.methods.jacobi import Jacobi
from fxsolve.plan.probe import count_sweeps, first_window, sweep_seconds
from fxsolve.plan.schedule import text_of
from fxsolve.plan.trial import Situation, Trial, ruled_out, step_bytes

WINDOWS = (1024, 256, 64)
SWEEP_BYTES = 2 << 30  # a whole sweep that holds more than this is not tried


def try_windows(situation: Situation, step: float) -> list[Trial]:
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
    sweep = sweep_seconds(window)
    limit = int(step * length / sweep)
    count = count_sweeps(window, situation.stop, min(limit, length))
    if count is None:
        reason = f"a sweep costs {sweep / step:.3g} steps, and {limit} sweeps did not converge"
        return Trial(Candidate(text_of(parts), "eager", None, "measured", reason), parts, None, sweep)
    reason = f"{count} sweeps, each at the cost of {sweep / step:.3g} steps, for every {length} steps"
    seconds = sweep * count * len(parts)
    if limit < length:
        # Other inputs may need more: sweeps that cost as much as all steps in order have had their chance.
        test = replace(situation.stop, max_sweeps=limit)
        parts = tuple(replace(part, stop=test) for part in parts)
    return Trial(Candidate(text_of(parts), "eager", seconds, "derived", reason), parts, count, sweep)
