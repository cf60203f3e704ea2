"""How one argument slot of a loop's body reads its value, iteration by iteration."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]


class Value(NamedTuple):
    """One tensor: call number `call` (negative: a leaf of the graph), and which of its outputs (-1: the only one)."""

    call: int
    output: int


@dataclass(frozen=True)
class SameValue:
    """The same outside value at every step."""

    value: Value


@dataclass(frozen=True)
class Internal:
    """Output `output` of the body's own call `position`, `lag` steps back; `initial` are the values before step 0."""

    position: int
    output: int
    lag: int
    initial: tuple[Value, ...]


@dataclass(frozen=True)
class Varying:
    """A different outside value at each step."""

    values: tuple[Value, ...]


@dataclass(frozen=True)
class Irregular:
    """No single rule describes the slot; `step` is the first step that breaks the rule of the step before it."""

    step: int


Slot = SameValue | Internal | Varying | Irregular


@dataclass(frozen=True)
class PeriodicWindow:
    """`trips` periods of `period` calls, from call `start` on."""

    start: int
    period: int
    trips: int

    @property
    def stop(self) -> int:
        return self.start + self.period * self.trips


def classify_slots(window: PeriodicWindow, calls: IntArray, outputs: IntArray) -> list[Slot]:
    """Classify the columns of the (T, k) matrices that say which output of which call slot k reads at step t."""
    steps, positions = np.divmod(calls - window.start, window.period)
    inside = calls >= window.start
    return [
        _classify(steps[:, k], positions[:, k], inside[:, k], calls[:, k], outputs[:, k]) for k in range(calls.shape[1])
    ]


def count_irregular(window: PeriodicWindow, calls: IntArray, outputs: IntArray) -> tuple[int, int]:
    """(irregular slots, distinct carried values) of a window: what a choice between windows minimises."""
    steps, positions = np.divmod(calls - window.start, window.period)
    inside = calls >= window.start
    lag = np.arange(window.trips)[:, None] - steps
    last = lag[-1]
    expected = inside & (lag == last) & (positions == positions[-1]) & (outputs == outputs[-1])
    before = np.arange(window.trips)[:, None] < last
    regular_inside = inside[-1] & np.all(np.where(before, ~inside, expected), axis=0)
    regular_outside = ~inside.any(axis=0)
    carried = regular_inside & (last > 0)
    distinct = len({(int(p), int(o)) for p, o in zip(positions[-1][carried], outputs[-1][carried], strict=True)})
    return int(np.sum(~(regular_inside | regular_outside))), distinct


def _classify(
    steps: IntArray, positions: IntArray, inside: NDArray[np.bool_], calls: IntArray, outputs: IntArray
) -> Slot:
    if not inside.any():
        if (calls == calls[0]).all() and (outputs == outputs[0]).all():
            return SameValue(Value(int(calls[0]), int(outputs[0])))
        return Varying(_values(calls, outputs))
    if not inside[-1]:
        return Irregular(int(np.argmin(inside[::-1] == inside[-1])))
    trips = len(steps)
    lag = trips - 1 - int(steps[-1])
    regular = inside & (np.arange(trips) - steps == lag) & (positions == positions[-1]) & (outputs == outputs[-1])
    regular[:lag] = ~inside[:lag]
    if not regular.all():
        return Irregular(int(np.argmin(regular)))
    return Internal(int(positions[-1]), int(outputs[-1]), lag, _values(calls[:lag], outputs[:lag]))


def _values(calls: IntArray, outputs: IntArray) -> tuple[Value, ...]:
    return tuple(Value(int(c), int(o)) for c, o in zip(calls, outputs, strict=True))
