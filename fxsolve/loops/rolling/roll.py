"""Find the loops of a recorded graph: windows of equal calls whose every argument slot follows one rule."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from fxsolve.loops.rolling.longer import longer_runs
from fxsolve.loops.rolling.signature import Calls
from fxsolve.structure.periods import PeriodicRun, find_runs
from fxsolve.structure.slots import Irregular, PeriodicWindow, Slot, classify_slots, count_irregular

MIN_TRIPS = 3
MIN_CALLS = 6
MAX_PEELED = 2
LONG = 16  # trips of a loop for which one less does not matter
_MAX_STARTS = 64
_FEW_STARTS = 8


@dataclass(frozen=True)
class Rolled:
    """A loop: its window of calls, one rule per argument slot of the body, and the numbers of each step (T, m)."""

    window: PeriodicWindow
    slots: tuple[Slot, ...]
    numbers: tuple[tuple[int | float, ...], ...]


@dataclass(frozen=True)
class Rolling:
    """All loops found, in program order, and a note for each run of equal calls that could not be rolled."""

    loops: tuple[Rolled, ...]
    notes: tuple[str, ...]


def roll(calls: Calls) -> Rolling:
    """Roll every maximal run of equal calls; a run with an irregular slot is left unrolled and noted."""
    loops: list[Rolled] = []
    notes: list[str] = []
    for run in find_runs(calls.labels, MIN_TRIPS, MIN_CALLS):
        found = _roll_all(calls, [run]) or _roll_all(calls, longer_runs(calls, run, MIN_TRIPS))
        loops += found
        if not found:
            notes.append(_irregular_note(calls, run))
    return Rolling(tuple(loops), tuple(notes))


def _roll_all(calls: Calls, runs: Iterable[PeriodicRun]) -> list[Rolled]:
    return [loop for run in runs if (loop := roll_run(calls, run)) is not None]


def roll_run(calls: Calls, run: PeriodicRun, fits: Callable[[PeriodicWindow], bool] = lambda _: True) -> Rolled | None:
    """The loop in a run of equal calls, in a window that `fits`; None if an argument slot is irregular in all."""
    window = _best_window(calls, run, fits)
    if window is None:
        return None
    slots = tuple(classify_slots(window, *calls.reads(window)))
    return Rolled(window, slots, numbers_of_steps(calls, window))


def _best_window(calls: Calls, run: PeriodicRun, fits: Callable[[PeriodicWindow], bool]) -> PeriodicWindow | None:
    """The window with most trips that has no irregular slot; among equals, the fewest carried values.

    A run may start anywhere inside an iteration, and its first or last iteration may differ from the others in what
    it reads, so up to two iterations are peeled. A long run gives up one trip for fewer carried values: what stands in
    front of a loop may look like the end of an iteration, which then hands on what is half done.
    """
    best: tuple[int, PeriodicWindow] | None = None
    for peeled in range(MAX_PEELED + 1):
        trips = run.trips - peeled
        if trips < MIN_TRIPS:
            return None
        if (best := _best_start(calls, run, trips, fits, _MAX_STARTS)) is not None:
            break
    if best is None or best[0] < 2 or best[1].trips < LONG:
        return best[1] if best is not None else None
    other = _best_start(calls, run, best[1].trips - 1, fits, _FEW_STARTS)
    return other[1] if other is not None and other[0] < best[0] else best[1]


def _best_start(
    calls: Calls, run: PeriodicRun, trips: int, fits: Callable[[PeriodicWindow], bool], most: int
) -> tuple[int, PeriodicWindow] | None:
    """The window of so many trips without an irregular slot that carries fewest values, and how many; None if none."""
    last_start = run.stop - trips * run.period
    starts = range(run.start, min(last_start, run.start + most) + 1)
    windows = [window for start in starts if fits(window := PeriodicWindow(start, run.period, trips))]
    ranked = [(count_irregular(window, *calls.reads(window)), window.start, window) for window in windows]
    if not ranked:
        return None
    (irregular, carried), _, window = min(ranked, key=lambda entry: entry[:2])
    return None if irregular else (carried, window)


def numbers_of_steps(calls: Calls, window: PeriodicWindow) -> tuple[tuple[int | float, ...], ...]:
    """The Python numbers of each step of a window (T, m)."""
    low, high = int(calls.number_slots[window.start]), int(calls.number_slots[window.stop])
    width = (high - low) // window.trips
    return tuple(calls.numbers[low + t * width : low + (t + 1) * width] for t in range(window.trips))


def _irregular_note(calls: Calls, run: PeriodicRun) -> str:
    window = PeriodicWindow(run.start, run.period, run.trips)
    slots = classify_slots(window, *calls.reads(window))
    bad = next((k for k, slot in enumerate(slots) if isinstance(slot, Irregular)), None)
    first = calls.nodes[run.start]
    where = first.meta.get("source", "an unknown line")
    if bad is None:
        return f"{run.trips} equal steps at {where} were not rolled: fewer than {MIN_TRIPS} of them are regular"
    slot = slots[bad]
    assert isinstance(slot, Irregular)
    low = calls.slots[window.start]
    owner = int(np.searchsorted(calls.slots, low + bad, side="right")) - 1
    node = calls.nodes[owner]
    return (
        f"{run.trips} equal steps at {where} were not rolled: an argument of {node.target} at "
        f"{node.meta.get('source', 'an unknown line')} is read by another rule from step {slot.step} on"
    )
