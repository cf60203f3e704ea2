"""What the numbers of a program are at a new length, read from one plain run of it there.

Two recorded streams and that of the run are laid side by side: the calls outside of loops one by one, those of a loop
by their place in its period. They must be the same calls, so that only numbers differ.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from fxsolve.capture.stream import Entry, Number, split_entry
from fxsolve.errors import PartitionError
from fxsolve.loops.generalize.counting import Lengths
from fxsolve.structure.periods import IntArray, PeriodicRun, find_runs

_MIN_TRIPS = 3
_MIN_CALLS = 6
_MAX_PEELED = 8

Column = tuple[Number, ...]


@dataclass(frozen=True)
class Numbers:
    """Single numbers and columns of loops, known by what they are in the two recordings."""

    single: dict[tuple[str, str], dict[str, Number]] = field(default_factory=dict)
    columns: dict[tuple[Column, Column], Column] = field(default_factory=dict)
    is_regular: bool = True

    def number(self, one: Number, two: Number) -> Number | None:
        """The number that was `one` and `two`, or None if the run has none; PartitionError if it has several."""
        found = self.single.get((repr(one), repr(two)), {})
        if len(found) > 1:
            raise PartitionError(f"what was {one} and {two} is {' and '.join(found)} at this length")
        return next(iter(found.values()), None)

    def table(self, one: Column, two: Column, length: int) -> Column | None:
        """The table of a loop that was `one` and `two`, or None; PartitionError if there are several."""
        found = {
            repr(three[start : start + length]): three[start : start + length]
            for columns, three in self.columns.items()
            for start in _starts(columns[0], one)
            if _same(columns[1][start : start + len(two)], two) and start + length <= len(three)
        }
        if len(found) > 1:
            raise PartitionError("two tables agree in the recordings and differ at this length")
        return next(iter(found.values()), None)


def _starts(column: Column, part: Column) -> Iterator[int]:
    peeled = len(column) - len(part)
    return (start for start in range(min(peeled, _MAX_PEELED) + 1) if _same(column[start : start + len(part)], part))


def _same(one: Column, two: Column) -> bool:
    return one == two and repr(one) == repr(two)


class _Calls(NamedTuple):
    """A stream as one label and the numbers of each call."""

    labels: IntArray
    numbers: list[Column]


class _Part(NamedTuple):
    """A stretch of calls in the three streams; `period` is 0 outside of loops."""

    spans: tuple[range, range, range]
    period: int


def read_numbers(one: Sequence[Entry], two: Sequence[Entry], three: Sequence[Entry], lengths: Lengths) -> Numbers:
    """The numbers of the run `three`; raises PartitionError if it is not what the two recordings tell."""
    label_of: dict[object, int] = {}
    calls = tuple(_read(entries, label_of) for entries in (one, two, three))
    single: dict[tuple[str, str], dict[str, Number]] = defaultdict(dict)
    columns: dict[tuple[Column, Column], Column] = {}
    regular = True
    for part in _parts(calls, lengths):
        for a, b, c in _columns(calls, part):
            if all(map(_is_constant, (a, b, c))):
                single[repr(a[0]), repr(b[0])].update((repr(number), number) for number in c[:1])
                continue
            if columns.setdefault((a, b), c) != c:
                raise PartitionError("two indices agree in the recordings and differ at this length")
            regular = regular and _is_regular(lengths, a, b, c)
    return Numbers(dict(single), columns, regular)


def _is_constant(column: Column) -> bool:
    return not column or (len(set(column)) == 1 and (type(column[0]) is int or len(set(map(repr, column))) == 1))


def _is_regular(lengths: Lengths, one: Column, two: Column, three: Column) -> bool:
    if not all(isinstance(number, int) for number in (*one, *two)):
        return True  # is looked up, never derived
    try:
        return lengths.count(one, two) == three  # pyright: ignore[reportArgumentType]
    except PartitionError:
        return False


def _read(entries: Sequence[Entry], label_of: dict[object, int]) -> _Calls:
    known: dict[int, tuple[int, Column]] = {}
    labels, numbers = [], []
    for entry in entries:
        found = known.get(id(entry))
        if found is None:
            label, own = split_entry(entry)
            found = known[id(entry)] = (label_of.setdefault(label, len(label_of)), own)
        labels.append(found[0])
        numbers.append(found[1])
    return _Calls(np.array(labels, np.int64), numbers)


def _parts(calls: tuple[_Calls, ...], lengths: Lengths) -> Iterator[_Part]:
    """Cut the streams where the loops of the recordings begin and end; the same calls must lie in each part."""
    one, two, three = (stream.labels for stream in calls)
    low = [0, 0, 0]
    for first, second, period in _cuts(one, two):
        sizes = len(first), len(second), lengths.between(len(first), len(second))
        spans = tuple(range(start, start + size) for start, size in zip(low, sizes, strict=True))
        if sizes[2] < 0 or not _is_alike(one, two, three, spans, period):
            raise PartitionError("the program makes other calls at this length")
        yield _Part(spans, period)  # pyright: ignore[reportArgumentType]
        low = [span.stop for span in spans]
    if low[2] != len(three):
        raise PartitionError("the program makes more calls at this length")


def _cuts(one: IntArray, two: IntArray) -> Iterator[tuple[range, range, int]]:
    """Stretches outside of loops and loops, in turn."""
    runs = find_runs(one, _MIN_TRIPS, _MIN_CALLS), find_runs(two, _MIN_TRIPS, _MIN_CALLS)
    if len(runs[0]) != len(runs[1]):
        raise PartitionError("the program has more loops at one length")
    ends = PeriodicRun(len(one), len(one), 0), PeriodicRun(len(two), len(two), 0)
    low = 0, 0
    for a, b in zip((*runs[0], ends[0]), (*runs[1], ends[1]), strict=True):
        yield range(low[0], a.start), range(low[1], b.start), 0
        yield range(a.start, a.stop), range(b.start, b.stop), a.period
        low = a.stop, b.stop


def _is_alike(one: IntArray, two: IntArray, three: IntArray, spans: tuple[range, ...], period: int) -> bool:
    parts = [labels[span.start : span.stop] for labels, span in zip((one, two, three), spans, strict=True)]
    if len(parts[2]) != len(spans[2]):
        return False
    if not period:
        return len(parts[0]) == len(parts[1]) == len(parts[2]) and all(map(np.array_equal, parts[1:], [parts[0]] * 2))
    return all(np.array_equal(part, np.resize(parts[0][:period], len(part))) for part in parts[1:])


def _columns(calls: tuple[_Calls, ...], part: _Part) -> Iterator[tuple[Column, Column, Column]]:
    """The numbers of each argument in the three streams: of a loop all of its steps, otherwise single ones."""
    step = part.period or 1
    for place in range(part.period or len(part.spans[0])):
        stop = [span.stop if part.period else span.start + place + 1 for span in part.spans]
        rows = [
            stream.numbers[span.start + place : end : step]
            for stream, span, end in zip(calls, part.spans, stop, strict=True)
        ]
        yield from zip(*(_transposed(row, len(rows[0][0])) for row in rows), strict=True)  # pyright: ignore


def _transposed(rows: list[Column], width: int) -> list[Column]:
    return [tuple(row[k] for row in rows) for k in range(width)]
