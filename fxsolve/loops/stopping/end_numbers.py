"""Numbers of the last steps of a loop that calls of the backward pass read, beside the loops that run along it."""

from collections.abc import Iterator, Sequence

from fxsolve.errors import PartitionError
from fxsolve.loops.rolling.signature import Calls
from fxsolve.loops.stopping.backward import Back, is_same
from fxsolve.loops.stopping.find import FoundStop
from fxsolve.loops.stopping.origins import NOWHERE, StepOrigins
from fxsolve.loops.stopping.results import StepNumber


def end_numbers(
    calls: Calls, stop: FoundStop, origins: StepOrigins, backs: Sequence[Back]
) -> dict[tuple[int, int], StepNumber]:
    """What stands for number k of call c, by (c, k), where it is another one behind another number of steps.

    Numbers of the first steps are always the same. Raises `PartitionError` where it is no number of the loop's own, or
    may be one of several, which were equal in that step but not in all.
    """
    found: dict[tuple[int, int], StepNumber] = {}
    columns = list(zip(*stop.numbers, strict=True))
    for call in _at_the_end(calls, origins, backs):
        step = int(origins.steps[call])
        for k, number in enumerate(calls.numbers_of(call)):
            known = [j for j, own in enumerate(columns) if not is_same(own) and repr(own[step]) == repr(number)]
            if not _varies(calls, backs, call, k, bool(known)):
                continue
            if not known:
                raise PartitionError("their backward pass reads numbers of the last ones that are none of their own")
            if len({repr(columns[j]) for j in known}) > 1:
                raise PartitionError("their backward pass reads a number of the last ones that is one of several")
            found[call, k] = StepNumber(known[0], stop.window.trips - 1 - step)
    return found


def _at_the_end(calls: Calls, origins: StepOrigins, backs: Sequence[Back]) -> Iterator[int]:
    """The calls that differentiate steps behind those that the backs cover."""
    inside = {call for back in backs for call in range(back.window.start, back.window.stop)}
    last = max((back.covered.stop for back in backs), default=0)
    for call in range(len(calls.nodes)):
        step = origins.steps[call]
        if call not in inside and step != NOWHERE and step >= last and calls.numbers_of(call):
            yield call


def _varies(calls: Calls, backs: Sequence[Back], call: int, k: int, otherwise: bool) -> bool:
    """Whether calls of other steps like this one read other numbers; `otherwise` where there are none."""
    alike = [
        [numbers[first + k] for numbers in back.numbers]
        for back in backs
        for position, first in _first_numbers(calls, back)
        if calls.labels[back.window.start + position] == calls.labels[call]
    ]
    return not all(map(is_same, alike)) if alike else otherwise


def _first_numbers(calls: Calls, back: Back) -> Iterator[tuple[int, int]]:
    """Each call of a step, and where its numbers begin among those of the step."""
    first = 0
    for position in range(back.window.period):
        yield position, first
        first += len(calls.numbers_of(back.window.start + position))
