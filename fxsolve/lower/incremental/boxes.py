"""Entries of a value that are a box of it: a range along each dimension, with the dimensions in some order."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fxsolve.lower.incremental.places import Numbers


@dataclass(frozen=True)
class Box:
    """Entry r of the box counts through `ranges`, (start, count) of each dimension, of which order[0] comes first."""

    ranges: tuple[tuple[int, int], ...]
    order: tuple[int, ...]


def box_of(entries: Numbers, shape: Sequence[int]) -> Box | None:
    """The box whose entries these are, in their order; None where they are no box."""
    coordinates = np.unravel_index(entries, tuple(shape)) if shape else ()
    low = [int(one.min()) for one in coordinates]
    ranges = tuple((start, int(one.max()) - start + 1) for start, one in zip(low, coordinates, strict=True))
    if np.prod([count for _, count in ranges], dtype=np.int64) != len(entries):
        return None
    changes = [_first_change(one) for one in coordinates]
    order = tuple(sorted(range(len(ranges)), key=lambda dim: (-changes[dim], dim)))
    counts = [ranges[dim][1] for dim in order]
    grid = np.indices(counts).reshape(len(counts), len(entries))
    expected = {dim: one + low[dim] for dim, one in zip(order, grid, strict=True)}
    is_box = all(np.array_equal(coordinates[dim], expected[dim]) for dim in order)
    return Box(ranges, order) if is_box else None


def _first_change(coordinate: Numbers) -> int:
    """After how many entries another one comes along a dimension; that which changes last comes first."""
    changed = np.flatnonzero(coordinate != coordinate[0])
    return int(changed[0]) if len(changed) else len(coordinate)
