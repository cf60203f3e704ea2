"""Loops whose shapes change at every step: equal calls, and every size is affine in the step, n_t = a + k t."""

import math
from collections import defaultdict
from dataclasses import dataclass
from itertools import permutations
from typing import NamedTuple

import numpy as np
from torch import fx

from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.loops.rolling.roll import MAX_PEELED, MIN_CALLS
from fxsolve.loops.rolling.signature import Calls
from fxsolve.structure.periods import IntArray, PeriodicRun, find_runs
from fxsolve.structure.slots import PeriodicWindow

MIN_STEPS = 4
MANY_SHAPES = 64
_MOST_STARTS = 4


class AffineSize(NamedTuple):
    """A size of `first` + t `slope` at step t."""

    first: int
    slope: int

    def at(self, step: int) -> int:
        return self.first + step * self.slope


Sizes = tuple[AffineSize, ...]


@dataclass(frozen=True)
class Growing:
    """A window of equal calls, with the sizes of what each call of a step gives and of what its slots read."""

    window: PeriodicWindow
    results: tuple[tuple[Sizes | None, ...], ...]
    slots: tuple[tuple[Sizes, ...], ...]

    def all_sizes(self) -> list[AffineSize]:
        """Every size of a step."""
        lists = [sizes for group in (*self.results, *self.slots) for sizes in group if sizes is not None]
        return [size for sizes in lists for size in sizes]


def rank_and_dtype(spec: TensorSpec) -> tuple[object, ...]:
    """What calls of one step have in common with those of another, where shapes change."""
    return len(spec.shape), spec.dtype


def may_grow(graph: fx.Graph) -> bool:
    """Whether calls of one op give tensors of `MIN_STEPS` shapes that grow, as those of a growing loop do.

    What goes into and comes out of the buffers of loops that were found counts for none.
    """
    shapes: dict[object, dict[tuple[int, ...], None]] = defaultdict(dict)
    seen: set[tuple[int, int]] = set()
    for node in graph.nodes:
        # Equal specs of a record are one object, and most calls of a loop give what others gave.
        if node.op != "call_function" or (key := (id(node.target), id(node.meta["spec"]))) in seen:
            continue
        if "buffer" in node.meta:
            continue
        seen.add(key)
        for k, shape in enumerate(shapes_of(node)):
            if shape is not None:
                shapes[node.target, k, len(shape)][shape] = None
    sequences = [tuple(found) for found in shapes.values() if len(found) >= MIN_STEPS]
    return any(_has_progression(one) or _is_monotone_somewhere(one) for one in sequences)


def _is_monotone_somewhere(shapes: tuple[tuple[int, ...], ...]) -> bool:
    """Whether `MIN_STEPS` tensors one after the other have more and more entries, or fewer and fewer."""
    signs = np.sign(np.diff([math.prod(shape) for shape in shapes]))
    windows = np.lib.stride_tricks.sliding_window_view(signs, MIN_STEPS - 1)
    return bool((np.abs(windows.sum(1)) == MIN_STEPS - 1).any())


def _has_progression(shapes: tuple[tuple[int, ...], ...]) -> bool:
    """Whether `MIN_STEPS` of the shapes are evenly spaced; many shapes are not looked at, they may well be."""
    if len(shapes) > MANY_SHAPES:
        return True
    known = set(shapes)
    return any(
        all(tuple(a + k * (b - a) for a, b in zip(one, two, strict=True)) in known for k in range(2, MIN_STEPS))
        for one, two in permutations(shapes, 2)
    )


def find_growing(calls: Calls) -> tuple[list[Growing], list[str]]:
    """The growing loops among calls that were labelled by `rank_and_dtype`, and a note for each that is no such loop.

    What goes into and comes out of the buffers of another growing loop is marked "buffer", and counts for none.
    """
    found: list[Growing] = []
    notes: list[str] = []
    for run in find_runs(calls.labels, MIN_STEPS, MIN_CALLS):
        if not _changes(calls, run) or any("buffer" in node.meta for node in calls.nodes[run.start : run.stop]):
            continue
        windows = _windows(calls, run)
        growing = next((g for w in windows if (g := _growing(calls, w)) is not None), None)
        if growing is None and _always_grows(calls, windows[0]):
            where = calls.nodes[run.start].meta.get("source", "an unknown line")
            notes.append(
                f"{run.trips} steps at {where} were not rolled: shapes change at every step, and not by the same amount"
            )
        elif growing is not None and any(size.slope for size in growing.all_sizes()):
            found.append(growing)
    return found, notes


def describe_growth(calls: Calls, growing: Growing) -> str:
    """Which dimension of what grows by how much, for a note."""
    for position, results in enumerate(growing.results):
        for sizes in results:
            for dim, size in enumerate(sizes or ()):
                if size.slope:
                    node = calls.nodes[growing.window.start + position]
                    where = node.meta.get("source", "an unknown line")
                    return f"dim {dim} of {node.target} at {where} grows by {size.slope}"
    return "what the steps read changes its shape"


def _changes(calls: Calls, run: PeriodicRun) -> bool:
    """Whether any call gives another shape one period later."""
    nodes = calls.nodes
    return any(shapes_of(nodes[k]) != shapes_of(nodes[k + run.period]) for k in range(run.start, run.stop - run.period))


def _always_grows(calls: Calls, window: PeriodicWindow) -> bool:
    """Whether a call gives a larger tensor, or a smaller one, at each step than at the one before."""
    for position in range(window.period):
        steps = range(window.start + position, window.stop, window.period)
        sizes = np.array([_entries(calls.nodes[call]) for call in steps])
        signs = np.sign(np.diff(sizes))
        if signs[0] and (signs == signs[0]).all():
            return True
    return False


def _entries(node: fx.Node) -> int:
    return sum(math.prod(shape) for shape in shapes_of(node) if shape is not None)


def _windows(calls: Calls, run: PeriodicRun) -> list[PeriodicWindow]:
    """Windows of the run, those with most steps first; the first steps may differ from the others.

    Of windows with as many steps, first those between whose steps the fewest values are handed on: a step that begins
    in the middle of a network hands on what it has come to, which is then no sequence that is only appended to.
    """
    crossing = _crossing(calls, run)
    windows: list[PeriodicWindow] = []
    for trips in range(run.trips, max(run.trips - MAX_PEELED, MIN_STEPS) - 1, -1):
        starts = range(run.start, run.stop - trips * run.period + 1)
        ranked = sorted(starts, key=lambda start: (crossing[(start - run.stop) % run.period], -start))
        windows += [PeriodicWindow(start, run.period, trips) for start in ranked[:_MOST_STARTS]]
    return windows


def _crossing(calls: Calls, run: PeriodicRun) -> IntArray:
    """How many calls of a step later ones read, where steps begin so many calls behind the end of the run (period,)."""
    low = run.stop - 2 * run.period
    readers = np.repeat(np.arange(low, run.stop), np.diff(calls.slots[low : run.stop + 1]))
    read = calls.sources[calls.slots[low] : calls.slots[run.stop]] - low
    inside = (read >= 0) & (read < run.period)
    distance: IntArray = np.zeros(run.period, np.int64)
    np.maximum.at(distance, read[inside], (readers - low - read)[inside])
    first = np.arange(run.period) + 1
    edges: IntArray = np.zeros(2 * run.period + 2, np.int64)
    np.add.at(edges, first, 1)
    np.add.at(edges, first + np.minimum(distance, run.period), -1)
    return np.cumsum(edges)[: 2 * run.period].reshape(2, run.period).sum(0)


def shapes_of(node: fx.Node) -> tuple[tuple[int, ...] | None, ...]:
    """The shape of each result of a call."""
    spec = node.meta["spec"]
    specs = (spec,) if spec is None or hasattr(spec, "shape") else spec
    return tuple(None if one is None else tuple(one.shape) for one in specs)


def _growing(calls: Calls, window: PeriodicWindow) -> Growing | None:
    results: list[tuple[Sizes | None, ...]] = []
    slots: list[tuple[Sizes, ...]] = []
    for position in range(window.period):
        steps = range(window.start + position, window.stop, window.period)
        given = _columns([shapes_of(calls.nodes[call]) for call in steps])
        read = _columns([tuple(_shape_of(calls, value) for value in calls.arguments(call)) for call in steps])
        if given is None or read is None:
            return None
        results.append(given)
        slots.append(read)  # pyright: ignore[reportArgumentType]
    return Growing(window, tuple(results), tuple(slots))


def _shape_of(calls: Calls, value) -> tuple[int, ...]:
    spec = calls.node_of(value).meta["spec"]
    return () if spec is None else tuple(spec.shape)  # in a step, there are numbers that change with the loop around it


def _columns(rows: list[tuple[tuple[int, ...] | None, ...]]) -> tuple[Sizes | None, ...] | None:
    """The sizes, over the steps, of several shapes; None if one of them is not affine in the step."""
    columns: list[Sizes | None] = []
    for shapes in zip(*rows, strict=True):
        if None in shapes:
            columns.append(None)
            continue
        table: IntArray = np.array(shapes, np.int64).reshape(len(rows), -1)
        slope = table[1] - table[0]
        if not (np.diff(table, axis=0) == slope).all():
            return None
        columns.append(tuple(AffineSize(int(a), int(k)) for a, k in zip(table[0], slope, strict=True)))
    return tuple(columns)
