"""Runs whose steps are many equal calls that differ in where they read: a sweep over a list, in a loop over time.

A run of equal calls with the period of the inner loop has no rule for what its steps read: a neighbour in this sweep,
or in the one before. How far back each argument lies repeats, though, after all the steps of a sweep.
"""

import numpy as np

from fxsolve.loops.rolling.signature import Calls
from fxsolve.structure.periods import IntArray, PeriodicRun, candidate_periods, runs_of
from fxsolve.structure.slots import PeriodicWindow


def longer_runs(calls: Calls, run: PeriodicRun, min_trips: int) -> list[PeriodicRun]:
    """The parts of a run that are a run with a multiple of its period, `min_trips` of them at least.

    Of all multiples, it is the one whose longest run saves most calls.
    """
    distances = _distances(calls, run)
    found = [_longer(run, distances, period, min_trips) for period in candidate_periods(distances) if period > 1]
    return max(found, key=lambda runs: max(((one.trips - 1) * one.period for one in runs), default=0), default=[])


def _longer(run: PeriodicRun, distances: IntArray, steps: int, min_trips: int) -> list[PeriodicRun]:
    """The parts of a run with `steps` times its period."""
    behind = run.start
    longer: list[PeriodicRun] = []
    for equal in runs_of(distances, steps, (min_trips - 1) * steps):
        # The first sweep reads what lies in front of the loop, so its distances are others.
        first = max(run.start + (equal.start - steps) * run.period, behind)
        behind = run.start + equal.stop * run.period
        longer.append(PeriodicRun(first, behind, steps * run.period))
    return [one for one in longer if one.trips >= min_trips]


def _distances(calls: Calls, run: PeriodicRun) -> IntArray:
    """For each period of a run, a number that says how far back it reads what: equal where this is equal."""
    window = PeriodicWindow(run.start, run.period, run.trips)
    sources, outputs = calls.reads(window)
    starts = run.start + run.period * np.arange(run.trips)[:, None]
    inside = sources >= run.start
    rows = np.concatenate((np.where(inside, starts - sources, -run.period), np.where(inside, outputs, 0)), axis=1)
    return np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
