"""The order in which the steps of a repeat are computed once: by levels where these are few."""

from collections.abc import Sequence

from fxsolve.errors import PartitionError
from fxsolve.ir.spec import Lag, Repeat
from fxsolve.solvers.step_order import ByLevel, OneByOne, StepOrder
from fxsolve.structure.levels import depth_of_prefixes, level_bounds

FEW = 0.75  # levels for each step: more gain nothing, as levels are padded to those of about their width
WIDEST = 8  # times the mean; what would be wider is several levels


def step_order(repeat: Repeat, latest: Sequence[int], levels: int | None) -> StepOrder:
    """In at most so many `levels`, one by one if they are as many as steps; None for what is best.

    `latest` are the latest steps that each step may depend on. PartitionError where that needs more levels.
    """
    length, bounds = repeat.length, _bounds(repeat, latest)
    count = len(bounds) - 1
    if levels is not None and levels < count:
        raise PartitionError(f"{levels} levels are fewer than the {count} that its steps make up")
    is_worth_it = count <= FEW * length if levels is None else levels < length
    return ByLevel(bounds) if is_worth_it else OneByOne(length)


def _bounds(repeat: Repeat, latest: Sequence[int]) -> tuple[int, ...]:
    if any(isinstance(read, Lag) for read in repeat.reads):
        return tuple(range(repeat.length + 1))
    mean = repeat.length / depth_of_prefixes(latest)
    return level_bounds(latest, int(WIDEST * mean))
