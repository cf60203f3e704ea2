"""Runs of a repeated pattern in a sequence of integer labels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]

_GRAM_LENGTHS = (1, 4, 16, 64)
_CANDIDATES_PER_GRAM = 6


@dataclass(frozen=True)
class PeriodicRun:
    """labels[i] == labels[i + period] for all start <= i < stop - period; at least two periods long."""

    start: int
    stop: int
    period: int

    @property
    def trips(self) -> int:
        return (self.stop - self.start) // self.period


def find_runs(labels: IntArray, min_trips: int, min_size: int) -> list[PeriodicRun]:
    """Disjoint runs in order of position, with at least `min_trips` periods and `min_size` labels each.

    Greedy: of all periods, the one whose runs save most labels, sum of (trips - 1) * period, is taken first, and
    what lies between its runs is searched again. Of nested loops, the one with most trips in all wins. Work is O(n c)
    for n labels and c candidate periods, all in array operations.
    """
    found: list[PeriodicRun] = []
    gaps = [(0, len(labels))]
    while gaps:
        low, high = gaps.pop()
        runs = _best_runs(labels[low:high], min_trips, min_size)
        limits = [low, *(low + limit for run in runs for limit in (run.start, run.stop)), high]
        found += [_primitive(labels, PeriodicRun(low + run.start, low + run.stop, run.period)) for run in runs]
        gaps += list(zip(limits[::2], limits[1::2], strict=True)) if runs else []
    return sorted(found, key=lambda run: run.start)


def _primitive(labels: IntArray, run: PeriodicRun) -> PeriodicRun:
    """The run with its shortest period: equal labels repeat after every distance, also after that of another loop."""
    part = labels[run.start : run.stop]
    divisors = (d for d in range(1, run.period + 1) if run.period % d == 0)
    period = next(d for d in divisors if np.array_equal(part[d:], part[:-d]))
    return PeriodicRun(run.start, run.stop, period)


def _best_runs(labels: IntArray, min_trips: int, min_size: int) -> list[PeriodicRun]:
    best: list[PeriodicRun] = []
    for period in candidate_periods(labels):
        runs = runs_of(labels, period, max(min_trips * period, min_size))
        if _saved(runs) > _saved(best):
            best = runs
    return best


def _saved(runs: list[PeriodicRun]) -> int:
    return sum((run.trips - 1) * run.period for run in runs)


def runs_of(labels: IntArray, period: int, least: int) -> list[PeriodicRun]:
    """The maximal stretches of `least` labels or more that repeat after a period, without overlap."""
    equal = labels[period:] == labels[:-period]
    edges = np.flatnonzero(np.diff(np.concatenate(([0], equal.view(np.int8), [0]))))
    long_enough = edges[1::2] - edges[::2] + period >= least
    runs: list[PeriodicRun] = []
    for start, stop in zip(edges[::2][long_enough].tolist(), edges[1::2][long_enough].tolist(), strict=True):
        free = max(start, runs[-1].stop) if runs else start
        if stop + period - free >= least:
            runs.append(PeriodicRun(free, stop + period, period))
    return runs


def candidate_periods(labels: IntArray) -> list[int]:
    """The most frequent distances between equal n-grams, for short and long n: one of them is the loop's period."""
    periods: set[int] = set()
    for length in _GRAM_LENGTHS:
        if len(labels) < 2 * length:
            break
        grams = _gram_ids(labels, length)
        order = np.argsort(grams, kind="stable")
        same = grams[order][1:] == grams[order][:-1]
        distances = np.diff(order)[same]
        values, counts = np.unique(distances, return_counts=True)
        # Weigh by distance: a period of p calls shows up 1/p as often as a period of one call.
        top = np.argsort(values * counts)[::-1][:_CANDIDATES_PER_GRAM]
        periods.update(int(value) for value in values[top])
    return sorted(p for p in periods if p <= len(labels) // 2)


def _gram_ids(labels: IntArray, length: int) -> IntArray:
    """An id for each window of `length` labels, by repeated doubling; equal ids mean equal windows."""
    ids = labels
    span = 1
    while span < length:
        pairs = ids[:-span] * (int(ids.max()) + 1) + ids[span:]
        ids = np.unique(pairs, return_inverse=True)[1].astype(np.int64)
        span *= 2
    return ids
