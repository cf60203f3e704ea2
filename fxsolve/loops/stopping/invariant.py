"""Calls that give the same in every step of a loop."""

from fxsolve.loops.rolling.signature import Calls
from fxsolve.loops.stopping.backward import Back
from fxsolve.loops.stopping.find import FoundStop
from fxsolve.structure.slots import Internal, SameValue, Slot


def invariant_calls(calls: Calls, loop: FoundStop | Back) -> set[int]:
    """The calls of a step, by position, that give the same in every step; not those that are read."""
    found: set[int] = set()
    slots, columns = iter(loop.slots), zip(*loop.numbers, strict=True)
    read = {-1} if isinstance(loop, Back) else {loop.window.period - 1}
    if isinstance(loop, FoundStop):
        read |= {one.call - loop.window.stop + loop.window.period for one in loop.checks}
    for position in range(loop.window.period):
        call = loop.window.start + position
        own = [next(slots) for _ in calls.arguments(call)]
        numbers = [next(columns) for _ in calls.numbers_of(call)]
        same = all(_is_same(slot, found) for slot in own) and all(len(set(map(repr, one))) == 1 for one in numbers)
        if same and own and position not in read:
            found.add(position)
    return found


def _is_same(slot: Slot, invariant: set[int]) -> bool:
    return isinstance(slot, SameValue) or (isinstance(slot, Internal) and slot.lag == 0 and slot.position in invariant)
