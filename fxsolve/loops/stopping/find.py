"""Find the steps behind which a program reads the same condition, until it is another one.

    ... read: go on | step 0 ... read: go on | step 1 ... read: go on | step 2 ... read: stop

A step is all that lies between two reads, wherever in the user's loop the condition stands. What comes before the first
read is no step: a first iteration is often another one than the next.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import fx

from fxsolve.capture.program import Guard, Program, attribute_of
from fxsolve.ir.ancestors import dependents
from fxsolve.loops.rolling.roll import numbers_of_steps
from fxsolve.loops.rolling.signature import Calls
from fxsolve.structure.slots import Irregular, PeriodicWindow, SameValue, Slot, Value, Varying, classify_slots

MIN_STEPS = 2  # fewer do not show what a step reads of the one before it
_MOST_READS = 4  # of equal conditions in one step
_MOST_PEELED = 2


@dataclass(frozen=True)
class StopRead:
    """Guard number `number`, about what call number `call` gave; equal `key`s are the same read in several steps."""

    number: int
    call: int
    key: tuple[Any, ...]
    value: Any


@dataclass(frozen=True)
class FoundStop:
    """The steps of one loop, as in `Rolled`, and the reads in them: `ends` of each step, and the others in the last.

    `before` is the read in front of the first step, and `guards` the numbers of all guards in the steps.
    """

    window: PeriodicWindow
    slots: tuple[Slot, ...]
    numbers: tuple[tuple[int | float, ...], ...]
    before: StopRead
    end: StopRead
    checks: tuple[StopRead, ...]
    guards: frozenset[int]


@dataclass(frozen=True)
class Stops:
    """The loops that were found, last one first, and a note for each that was not rolled."""

    found: tuple[FoundStop, ...]
    notes: tuple[str, ...]


def find_stops(program: Program, calls: Calls, guards: Sequence[fx.Node]) -> Stops:
    """The loops of `program` that stop on what its `guards` read."""
    reads = _reads(program.guards, calls, guards)
    given = dependents(node for node in calls.leaves if node.name not in program.stream.literals)
    decided = {number for number, node in enumerate(guards) if node not in given}  # by numbers of the program alone
    by_key: dict[tuple[Any, ...], list[StopRead]] = defaultdict(list)
    for read in reads:
        by_key[read.key].append(read)
    found: list[FoundStop] = []
    notes: dict[str, None] = {}
    places = {read.number: k for one in by_key.values() for k, read in enumerate(one)}
    for read in reversed(reads):
        if type(read.value) is not bool or read.number in decided:
            continue
        if any(read.number in one.guards or read is one.before for one in found):
            continue
        ends = _ends(calls, reads, by_key[read.key][: places[read.number] + 1])
        if len(ends) <= MIN_STEPS:
            continue
        stop = _stop(program, calls, reads, ends)
        if isinstance(stop, str):
            notes[stop] = None
        else:
            found.append(stop)
    return Stops(tuple(found), tuple(notes))


def _reads(guards: Sequence[Guard], calls: Calls, nodes: Sequence[fx.Node]) -> list[StopRead]:
    """The reads in their order; those of what no call gave, an input for one, are left out."""
    reads: list[StopRead] = []
    for number, (guard, node) in enumerate(zip(guards, nodes, strict=True)):
        call = calls.values[node].call
        if call >= 0:
            (source,) = calls.arguments(call)[:1] or (Value(-1, -1),)
            made = int(calls.labels[source.call]) if source.call >= 0 else -1
            reads.append(StopRead(number, call, (guard.source, int(calls.labels[call]), made), guard.expected))
    return sorted(reads, key=_call)


def _ends(calls: Calls, reads: Sequence[StopRead], equal: Sequence[StopRead]) -> list[StopRead]:
    """The reads that equal steps begin and end with, the last of which stops them; `equal` are those like it."""
    best: list[StopRead] = []
    for stride in range(1, _MOST_READS + 1):
        ends = _ends_apart(calls, reads, equal[::-1][::stride])
        if len(ends) > max(len(best), MIN_STEPS):
            best = ends
    return best


def _ends_apart(calls: Calls, reads: Sequence[StopRead], backwards: Sequence[StopRead]) -> list[StopRead]:
    ends = [backwards[0]]
    wanted: Any = None
    for read in backwards[1:]:
        if read.value == backwards[0].value:
            break
        low, high = read.call + 1, ends[-1].call + 1
        inside = [(one.call - high, one.key, repr(one.value)) for one in _inside(reads, low, high - 1)]
        step = calls.labels[low:high], inside
        wanted = wanted or step
        if not np.array_equal(step[0], wanted[0]) or step[1] != wanted[1]:
            break
        ends.append(read)
    return ends[::-1]


def _inside(reads: Sequence[StopRead], low: int, high: int) -> Sequence[StopRead]:
    """Those of calls low <= call < high."""
    return reads[bisect_left(reads, low, key=_call) : bisect_left(reads, high, key=_call)]


def _call(read: StopRead) -> int:
    return read.call


def _stop(program: Program, calls: Calls, reads: Sequence[StopRead], ends: Sequence[StopRead]) -> FoundStop | str:
    """The loop between these reads, without the first steps where these are others; or why there is none."""
    period = ends[-1].call - ends[-2].call
    reason = ""
    for peeled in range(_MOST_PEELED + 1):
        left = ends[peeled:]
        if len(left) <= MIN_STEPS:
            break
        window = PeriodicWindow(left[0].call + 1, period, len(left) - 1)
        slots = [_plain(program, calls, slot) for slot in classify_slots(window, *calls.reads(window))]
        problem = next((k for k, slot in enumerate(slots) if isinstance(slot, (Irregular, Varying))), None)
        if problem is None:
            last = window.stop - period
            return FoundStop(
                window,
                tuple(slots),
                numbers_of_steps(calls, window),
                left[0],
                left[-1],
                tuple(_inside(reads, last, left[-1].call)),
                frozenset(read.number for read in _inside(reads, window.start, window.stop)),
            )
        reason = reason or _reason(program, calls, window, problem, slots[problem])
    return f"{len(ends) - 1} steps that stop on the value read at {program.guards[ends[0].number].source} {reason}"


def _plain(program: Program, calls: Calls, slot: Slot) -> Slot:
    """Constants that every step makes of the same number are one and the same value."""
    if not isinstance(slot, Varying) or any(value.call >= 0 for value in slot.values):
        return slot
    nodes = [calls.node_of(value) for value in slot.values]
    if any(node.op != "get_attr" or node.name not in program.stream.literals for node in nodes):
        return slot
    first, *others = (attribute_of(program, str(node.target)) for node in nodes)
    return SameValue(slot.values[0]) if all(torch.equal(first, other) for other in others) else slot


def _reason(program: Program, calls: Calls, window: PeriodicWindow, number: int, slot: Slot) -> str:
    low = int(calls.slots[window.start]) + number
    node = calls.nodes[int(np.searchsorted(calls.slots, low, side="right")) - 1]
    where = f"an argument of {node.target} at {node.meta.get('source', 'an unknown line')}"
    if isinstance(slot, Varying) and _are_drawn(program, calls, slot.values):
        return f"stay as recorded: {where} is a random draw, and how many there are depends on the value"
    if isinstance(slot, Varying):
        return f"stay as recorded: {where} is another value in every step"
    return f"stay as recorded: {where} is read by another rule in some steps"


def _are_drawn(program: Program, calls: Calls, values: Collection[Value]) -> bool:
    return any(program.roles.get(calls.node_of(value).name) == "noise" for value in values)
