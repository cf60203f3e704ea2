"""Runs whose steps are many equal calls that differ in where they read: a sweep over a list, in a loop over time.

A run of equal calls with the period of the inner loop has no rule for what its steps read: a neighbour in this sweep,
or in the one before. How far back each argument lies repeats, though, after all the steps of a sweep.
"""

from collections.abc import Iterator

import numpy as np

from fxsolve.loops.rolling.signature import Calls
from fxsolve.structure.periods import IntArray, PeriodicRun, candidate_periods, runs_of
from fxsolve.structure.slots import PeriodicWindow


def longer_runs(calls: Calls, run: PeriodicRun, min_trips: int) -> Iterator[PeriodicRun]:
    """The parts of a run that are a run with a multiple of its period, `min_trips` of them at least."""
    behind = run.start
    for steps in _long_runs(_distances(calls, run), min_trips - 1):
        # The first sweep reads what lies in front of the loop, so its distances are others.
        first = max(run.start + (steps.start - steps.period) * run.period, behind)
        behind = run.start + steps.stop * run.period
        longer = PeriodicRun(first, behind, steps.period * run.period)
        if longer.trips >= min_trips:
            yield longer


def _long_runs(labels: IntArray, min_trips: int) -> list[PeriodicRun]:
    """The runs of that period, of all above 1, that has the longest run."""
    found = (runs_of(labels, period, min_trips * period) for period in candidate_periods(labels) if period > 1)
    return max(found, key=lambda runs: max((run.stop - run.start for run in runs), default=0), default=[])


def _distances(calls: Calls, run: PeriodicRun) -> IntArray:
    """For each period of a run, a number that says how far back it reads what: equal where this is equal."""
    window = PeriodicWindow(run.start, run.period, run.trips)
    sources, outputs = calls.reads(window)
    starts = run.start + run.period * np.arange(run.trips)[:, None]
    inside = sources >= run.start
    rows = np.concatenate((np.where(inside, starts - sources, -run.period), np.where(inside, outputs, 0)), axis=1)
    return np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
