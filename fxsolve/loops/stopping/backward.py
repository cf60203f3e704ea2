"""The backward pass of a loop that stops on a value: steps that read those of the loop from its last one on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from fxsolve.loops.rolling.roll import Rolled, numbers_of_steps
from fxsolve.loops.rolling.signature import Calls
from fxsolve.loops.stopping.find import FoundStop
from fxsolve.structure.slots import Internal, PeriodicWindow, SameValue, Slot, Value, Varying, classify_slots

MOST_BACK = 2  # steps at an end of a loop that may be read one by one
_LEAST_STEPS = 6  # so that both ends of a loop are told apart


@dataclass(frozen=True)
class Back:
    """Steps along those of a loop `front`, as in `Rolled`, which has `length` steps."""

    window: PeriodicWindow
    slots: tuple[Slot, ...]
    numbers: tuple[tuple[int | float, ...], ...]
    front: PeriodicWindow

    @property
    def length(self) -> int:
        return self.front.trips

    def place(self, value: Value) -> tuple[int, int]:
        """The step and the position of a call of the loop in front."""
        return divmod(value.call - self.front.start, self.front.period)


def find_backs(calls: Calls, stop: FoundStop, invariant: set[int], loops: Sequence[Rolled]) -> Iterator[Back]:
    """The loops of the backward pass that run along the steps of `stop`, whose `invariant` calls all give the same."""
    if stop.window.trips < _LEAST_STEPS:
        return
    for loop in loops:
        window = loop.window
        if "backward" not in calls.nodes[window.start].meta:
            continue
        if not any(isinstance(slot, Varying) and _is_in(slot.values[0], stop.window) for slot in loop.slots):
            continue
        peeled = sorted(product(range(MOST_BACK + 1), repeat=2), key=sum)
        found = (_back(calls, stop.window, invariant, window, *ends) for ends in peeled)
        back = next((one for one in found if one is not None), None)
        if back is not None:
            yield back


def _back(
    calls: Calls, front: PeriodicWindow, invariant: set[int], window: PeriodicWindow, head: int, tail: int
) -> Back | None:
    shorter = PeriodicWindow(window.start + head * window.period, window.period, window.trips - head - tail)
    if not front.trips - 2 * MOST_BACK <= shorter.trips <= front.trips:
        return None
    slots = tuple(classify_slots(shorter, *calls.reads(shorter)))
    back = Back(shorter, slots, numbers_of_steps(calls, shorter), front)
    back = replace(back, slots=tuple(_plain(back, slot, invariant) for slot in slots))
    same = all(len(set(map(repr, column))) == 1 for column in zip(*back.numbers, strict=True))
    return back if same and all(_is_regular(back, slot) for slot in back.slots) else None


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
