"""The backward pass of a loop that stops on a value: steps that read those of the loop from its last one on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from fxsolve.ir.tables import as_range
from fxsolve.loops.rolling.roll import Rolled, numbers_of_steps
from fxsolve.loops.rolling.signature import Calls
from fxsolve.loops.stopping.find import FoundStop
from fxsolve.loops.stopping.origins import NOWHERE, StepOrigins
from fxsolve.structure.slots import Internal, PeriodicWindow, SameValue, Slot, Value, Varying, classify_slots

MOST_BACK = 2  # steps at an end of a loop that may be read one by one
_LEAST_STEPS = 6  # so that both ends of a loop are told apart


@dataclass(frozen=True)
class Back:
    """Steps along those of a loop `front`, as in `Rolled`, which has `length` steps; `covered` are these."""

    window: PeriodicWindow
    slots: tuple[Slot, ...]
    numbers: tuple[tuple[int | float, ...], ...]
    front: PeriodicWindow
    covered: range

    @property
    def length(self) -> int:
        return self.front.trips

    def place(self, value: Value) -> tuple[int, int]:
        """The step and the position of a call of the loop in front."""
        return divmod(value.call - self.front.start, self.front.period)


def find_backs(
    calls: Calls, stop: FoundStop, origins: StepOrigins, invariant: set[int], loops: Sequence[Rolled]
) -> Iterator[Back]:
    """The loops of the backward pass that run along the steps of `stop`, whose `invariant` calls all give the same."""
    if stop.window.trips < _LEAST_STEPS:
        return
    for loop in loops:
        if "backward" not in calls.nodes[loop.window.start].meta or origins.falling(loop.window) is None:
            continue
        peeled = sorted(product(range(MOST_BACK + 1), repeat=2), key=sum)
        found = (_back(calls, stop, origins, invariant, loop.window, *ends) for ends in peeled)
        back = next((one for one in found if one is not None), None)
        if back is not None:
            yield back


def _back(
    calls: Calls,
    stop: FoundStop,
    origins: StepOrigins,
    invariant: set[int],
    window: PeriodicWindow,
    head: int,
    tail: int,
) -> Back | None:
    front = stop.window
    shorter = PeriodicWindow(window.start + head * window.period, window.period, window.trips - head - tail)
    if not front.trips - 2 * MOST_BACK <= shorter.trips <= front.trips:
        return None
    firsts = origins.falling(shorter)
    if firsts is None:
        return None
    firsts = firsts[firsts != NOWHERE]
    slots = tuple(classify_slots(shorter, *calls.reads(shorter)))
    numbers = numbers_of_steps(calls, shorter)
    back = Back(shorter, slots, numbers, front, range(int(firsts.max()) - shorter.trips + 1, int(firsts.min()) + 1))
    back = replace(back, slots=tuple(_plain(back, slot, invariant) for slot in slots))
    known = all(_is_known_when_longer(column, stop) for column in zip(*numbers, strict=True))
    return back if known and all(_is_regular(back, slot) for slot in back.slots) else None


def _is_known_when_longer(column: tuple[int | float, ...], stop: FoundStop) -> bool:
    """Whether the numbers of a call of the backward pass are known along every number of steps that the loop takes.

    A loop that has numbers itself which follow no rule takes no more steps than had these.
    """
    if is_same(column) or as_range(column) is not None:
        return True
    return any(not is_same(own) and as_range(own) is None for own in zip(*stop.numbers, strict=True))


def is_same(column: Sequence[int | float]) -> bool:
    """Whether all steps have one number, to the bit."""
    return len(set(map(repr, column))) == 1


def unlike(calls: Calls, origins: StepOrigins, front: PeriodicWindow, backs: Sequence[Back]) -> int | None:
    """The first call of the backward pass that differentiates a step, and that no other number of steps would show.

    Those of the steps at the ends of a loop stay beside its `backs`; without these, those of its last steps do.
    """
    covered = [step for step in range(front.trips) if all(step in back.covered for back in backs)]
    if not backs:
        covered = [0, *range(1, front.trips - 1 - MOST_BACK)]
    others = np.isin(origins.steps, covered)
    for back in backs:
        others[back.window.start : back.window.stop] = False
    return int(others.argmax()) if others.any() else None


def _plain(back: Back, slot: Slot, invariant: set[int]) -> Slot:
    """What every step of the loop in front makes anew, but always the same, is one value."""
    if isinstance(slot, Varying) and all(_is_in(value, back.front) for value in slot.values):
        places = {back.place(value)[1] for value in slot.values}
        if len(places) == 1 and places <= invariant:
            return SameValue(Value(back.front.start + places.pop(), slot.values[0].output))
    return slot


def _is_regular(back: Back, slot: Slot) -> bool:
    if not isinstance(slot, Varying):
        return isinstance(slot, (SameValue, Internal))
    if not all(_is_in(value, back.front) for value in slot.values):
        return False
    steps, positions = zip(*map(back.place, slot.values), strict=True)
    falls = steps == tuple(steps[0] - t for t in range(len(steps)))
    return falls and len(set(positions)) == 1 and len({value.output for value in slot.values}) == 1


def _is_in(value: Value, window: PeriodicWindow) -> bool:
    return window.start <= value.call < window.stop
