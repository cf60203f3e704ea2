"""Price sweeps that leave out the samples of a batch that have settled."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fxsolve.errors import PartitionError
from fxsolve.plan.decision import Candidate
from fxsolve.plan.method import MethodNode, Part, Steps, steps_of
from fxsolve.plan.probe import count_awake, first_window, run_parts
from fxsolve.plan.samples import find_samples, sample_dims
from fxsolve.plan.schedule import text_of
from fxsolve.plan.trial import Situation, Trial
from fxsolve.solvers.by_sample import STRIDE
from fxsolve.solvers.samples import SMALLEST

_SHARE = 0.75  # of the work of plain sweeps: batches that promise less are not tried
_FEWEST_SWEEPS = 8


def try_samples(situation: Situation, best: Trial) -> Trial | None:
    """The sweeps of `best` with smaller and smaller batches, measured beside it; None where that promises nothing."""
    repeat, parts = situation.repeat, best.parts
    if not all(isinstance(part, MethodNode) and isinstance(part.child, Steps) for part in parts):
        return None
    if (best.sweeps or 0) < _FEWEST_SWEEPS:
        return None
    try:
        samples = find_samples(repeat)
        first = steps_of(parts[0])
        window = first_window(repeat, situation.values, first.stop - first.start)
        awake = count_awake(window, sample_dims(repeat, samples), situation.stop)
        sizes = _sizes(awake, samples.size)
        return _measured(situation, best, sizes) if sizes else None
    except PartitionError:
        return None


def _sizes(awake: Sequence[int], whole: int) -> tuple[int, ...]:
    """Halves of the batch that hold the samples awake at each look; none where they save too little."""
    size, used = whole, list[int]()
    for count in awake:
        while size // 2 >= max(count, SMALLEST):
            size //= 2
        used.append(size)
    work = sum(used) / whole + 1 / STRIDE  # in the end comes one sweep of all
    return tuple(size for size in dict.fromkeys(used) if size < whole) if work <= _SHARE * len(used) else ()


def _measured(situation: Situation, best: Trial, sizes: tuple[int, ...]) -> Trial:
    parts: tuple[Any, ...] = best.parts
    parts = tuple(replace(part, samples=sizes) for part in parts)
    seconds, plain = (_least_seconds(situation, tried) for tried in (parts, best.parts))
    reason = f"{seconds / plain:.0%} of the time of sweeps that take all samples to the end"
    # `best` was derived from one sweep; the two compare by what they took side by side.
    candidate = Candidate(text_of(parts), "eager", best.seconds * seconds / plain, "measured", reason)
    return replace(best, candidate=candidate, parts=parts)


def _least_seconds(situation: Situation, parts: Sequence[Part]) -> float:
    runs = [run_parts(situation.repeat, situation.values, parts, situation.stop) for _ in range(2)]
    return min(run.seconds for run in runs)
