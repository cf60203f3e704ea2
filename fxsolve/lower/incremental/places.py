"""Places of entries along some dimensions of a value, one row of them for each step that computes or reads there.

These are numbers of the plan and not of a run, so they are arrays of numpy, which no mode of torch follows.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

NOWHERE = -1  # a place outside of the value, whose entry is a constant
Numbers = np.ndarray


@dataclass(frozen=True, eq=False)
class Places:
    """table[a, p] counts entries through the dimensions `dims`, in order; row a is that of the a-th active step."""

    dims: tuple[int, ...]
    table: Numbers

    @cached_property
    def key(self) -> tuple[tuple[int, ...], tuple[int, ...], bytes]:
        """What equal places have in common."""
        return self.dims, self.table.shape, self.table.tobytes()

    @cached_property
    def has_gaps(self) -> bool:
        """Whether any of them is `NOWHERE`."""
        return bool((self.table == NOWHERE).any())

    @property
    def count(self) -> int:
        """Places in a row, P."""
        return self.table.shape[1]

    def coordinates(self, shape: Sequence[int]) -> dict[int, Numbers]:
        """By dimension, (A, P) each; of `NOWHERE` they are 0."""
        rest, found = self.table.clip(min=0), dict[int, Numbers]()
        for dim in reversed(self.dims):
            found[dim] = rest % shape[dim]
            rest = rest // shape[dim]
        return found

    def inside(self) -> "Places":
        """The same with any place at all instead of `NOWHERE`."""
        return Places(self.dims, self.table.clip(min=0)) if self.has_gaps else self


def nowhere_else(rows: int) -> Places:
    """The one place along no dimension."""
    return Places((), np.zeros((rows, 1), np.int64))


def places_at(coordinates: Mapping[int, Numbers], shape: Sequence[int], outside: Numbers) -> Places:
    """The places with these coordinates by dimension, in a value of this shape; `NOWHERE` where they are `outside`."""
    table = np.zeros(outside.shape, np.int64)
    for dim in sorted(coordinates):
        table = table * shape[dim] + coordinates[dim]
    return Places(tuple(sorted(coordinates)), np.where(outside, NOWHERE, table))


def project(places: Places, shape: Sequence[int], onto: Mapping[int, int], target: Sequence[int]) -> Places:
    """Of places in a value of `shape` those along dimensions onto[d] of a value of shape `target`.

    Of several places along no dimension one is left.
    """
    coordinates = places.coordinates(shape)
    kept = {onto[dim]: coordinates[dim] for dim in places.dims if dim in onto}
    if not kept:
        return nowhere_else(len(places.table))
    return places_at(kept, target, places.table == NOWHERE)


def widen(places: Places, shape: Sequence[int], more: Sequence[int], first: bool) -> Places:
    """At each of these places all of those along the dimensions `more`, which count `first` or last in a row."""
    wide, rows = math.prod(shape[dim] for dim in more), len(places.table)
    form = (rows, wide, places.count) if first else (rows, places.count, wide)

    def spread(one: Numbers) -> Numbers:
        return np.broadcast_to(np.expand_dims(one, 1 if first else 2), form)

    added = Places(tuple(more), np.arange(wide)).coordinates(shape)
    full = {dim: np.broadcast_to(one[:, None] if first else one, form) for dim, one in added.items()}
    full.update({dim: spread(one) for dim, one in places.coordinates(shape).items()})
    found = places_at(full, shape, spread(places.table == NOWHERE))
    return Places(found.dims, found.table.reshape(rows, -1))


def comes_first(places: Places, more: Sequence[int]) -> bool:
    """Whether dimensions count first among all: then places that come in order stay in order."""
    return not places.dims or max(more) < min(places.dims)


def narrow(places: Places, shape: Sequence[int], kept: Sequence[int]) -> tuple[Places, bool] | None:
    """Fewer places, along dimensions `kept`, that `widen` makes these of, and whether the others count first."""
    more = [dim for dim in places.dims if dim not in kept]
    wide = math.prod(shape[dim] for dim in more)
    if places.has_gaps or places.count % wide:
        return None
    fewer = project(places, shape, {dim: dim for dim in kept}, shape)
    for first in (True, False):
        every = slice(0, places.count // wide) if first else slice(0, None, wide)
        found = Places(fewer.dims, fewer.table[:, every] if fewer.dims else fewer.table)
        if np.array_equal(widen(found, shape, more, first).table, places.table):
            return found, first
    return None
