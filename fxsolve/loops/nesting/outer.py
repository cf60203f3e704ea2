"""Find loops around loops: runs of equal stretches of calls, each of which holds loops that were found before."""

from collections import Counter, defaultdict
from collections.abc import Collection

import numpy as np

from fxsolve.loops.rolling.roll import MIN_TRIPS, Rolled, roll_run
from fxsolve.loops.rolling.signature import Calls
from fxsolve.structure.periods import PeriodicRun, runs_of
from fxsolve.structure.slots import PeriodicWindow

_MOST_LOOPS = 4  # equal loops in one step of the loop around them


def loops_around(calls: Calls, loops: tuple[Rolled, ...], refused: Collection[PeriodicWindow]) -> tuple[Rolled, ...]:
    """`loops`, with those that lie in the steps of another loop replaced by that one, at as many levels as there are.

    A loop around others has no irregular slot, cuts none of them, and is not like one of the `refused` windows.
    """
    while outer := _one_level(calls, loops, refused):
        rest = [loop for loop in loops if not any(_holds(one.window, loop.window) for one in outer)]
        loops = tuple(sorted([*rest, *outer], key=lambda loop: loop.window.start))
    return loops


def _one_level(calls: Calls, loops: tuple[Rolled, ...], refused: Collection[PeriodicWindow]) -> list[Rolled]:
    """The loops of one period around `loops`: of all periods, the one that saves most calls."""
    best: list[Rolled] = []
    for period in _distances(calls, loops):
        found: list[Rolled] = []
        for run in runs_of(calls.labels, period, MIN_TRIPS * period):
            loop = _roll_around(calls, loops, run, refused)
            if loop is not None:
                found.append(loop)
        if _saved(found) > _saved(best):
            best = found
    return best


def _saved(loops: list[Rolled]) -> int:
    return sum((loop.window.trips - 1) * loop.window.period for loop in loops)


def _distances(calls: Calls, loops: tuple[Rolled, ...]) -> list[int]:
    """From one loop to an equal one behind it, several times: a step of a loop around them has this length."""
    starts: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for window in (loop.window for loop in loops):
        labels = np.sort(calls.labels[window.start : window.start + window.period])
        starts[window.trips, labels.tobytes()].append(window.start)
    equal = [places for places in starts.values() if len(places) >= MIN_TRIPS]
    pairs = (
        pair for places in equal for k in range(1, _MOST_LOOPS + 1) for pair in zip(places, places[k:], strict=False)
    )
    counts = Counter(b - a for a, b in pairs)
    return sorted(distance for distance, count in counts.items() if count >= MIN_TRIPS - 1)


def _roll_around(
    calls: Calls, loops: tuple[Rolled, ...], run: PeriodicRun, refused: Collection[PeriodicWindow]
) -> Rolled | None:
    low, high = (np.array([getattr(loop.window, end) for loop in loops]) for end in ("start", "stop"))

    def fits(window: PeriodicWindow) -> bool:
        borders = window.start + window.period * np.arange(window.trips + 1)
        holds = ((low >= window.start) & (high <= window.stop)).any()
        first = np.searchsorted(borders, low, "right")  # the first border behind the start of each loop
        cut = (first <= window.trips) & (borders[np.minimum(first, window.trips)] < high)
        return bool(holds) and not cut.any() and not any(_alike(window, one) for one in refused)

    return roll_run(calls, run, fits)


def _alike(one: PeriodicWindow, two: PeriodicWindow) -> bool:
    """Whether two windows have steps in common, some of them peeled off one of the two maybe."""
    return one.period == two.period and one.start < two.stop and two.start < one.stop


def _holds(outer: PeriodicWindow, inner: PeriodicWindow) -> bool:
    return outer.start <= inner.start and inner.stop <= outer.stop
