"""Steps that compute few places apart from those that compute many, which would all be padded to the most."""

from collections.abc import Iterable, Sequence
from itertools import combinations, pairwise

import numpy as np

from fxsolve.lower.incremental.places import Numbers, Places
from fxsolve.lower.incremental.stage import Work

MOST_CLASSES = 3  # of steps; each is a graph of its own
CANDIDATES = 16  # for the number of steps in a class
LEAST_GAIN = 0.25  # of the places, for one class more


def by_width(works: Iterable[Work]) -> list[Work]:
    """The same stages, each for steps alone that compute about as many places."""
    return [part for work in works for part in _parts(work)]


def _parts(work: Work) -> list[Work]:
    if not work.nodes:
        return [work]
    counts = np.stack([_counts(places.table) for places in work.nodes.values()], 1)
    order = np.argsort(counts.sum(1), kind="stable")
    bounds = (0, *_cuts(counts[order]), len(order))
    return [_rows(work, np.sort(order[low:high]), counts) for low, high in pairwise(bounds)]


def _counts(table: Numbers) -> Numbers:
    """The places of each row, less those behind the first that repeat it or its last one."""
    return (table == table[:, -1:]).argmax(1) + 1


def _cuts(counts: Numbers) -> tuple[int, ...]:
    """Where to cut rows of counts, in rising order, so that least is computed when all are padded to the most."""
    length = len(counts)
    candidates = sorted({length * k // CANDIDATES for k in range(1, CANDIDATES)} - {0})

    def places(cuts: Sequence[int]) -> int:
        bounds = (0, *cuts, length)
        return sum((high - low) * int(counts[low:high].max(0).sum()) for low, high in pairwise(bounds))

    best: tuple[int, ...] = ()
    for number in range(1, MOST_CLASSES):
        found = min(combinations(candidates, number), key=places, default=best)
        if places(found) <= (1 - LEAST_GAIN) * places(best):
            best = found
    return best


def _rows(work: Work, rows: Numbers, counts: Numbers) -> Work:
    most = counts[rows].max(0)
    pairs = zip(work.nodes.items(), most.tolist(), strict=True)
    nodes = {node: Places(places.dims, places.table[rows, :count]) for (node, places), count in pairs}
    return Work(tuple(work.steps[row] for row in rows.tolist()), nodes, work.results)
