"""How a loop converged: what each sweep changed by step, and the front of exact steps, as shapes of a picture."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fxsolve.report.units import count
from fxsolve.solvers.trace import SweepTrace, Trace

WIDE, TALL = 480.0, 240.0
_THICKEST = 16.0
_CLASSES = 6  # powers of ten below the largest change that are told apart
FINAL, BROKEN = "final", "broken"


@dataclass(frozen=True)
class Convergence:
    """A picture of `height`, WIDE across: `cells` by their class as paths; the lines `front`, `in_order`, `residual`.

    `residual` lies in a picture of its own, WIDE x 100, whose upper and lower edges stand for `largest` and `least`.
    """

    loop: str
    title: str
    height: float
    cells: tuple[tuple[str, str], ...]
    front: str
    in_order: str
    residual: str
    largest: str
    least: str


def convergence(trace: Trace) -> Convergence:
    """The shapes of one trace, a row for each sweep that was kept, from top to bottom."""
    rows, thick = trace.sweeps, min(_THICKEST, TALL / len(trace.sweeps))
    finite = [change for row in rows for change in row.changes if 0 < change < math.inf]
    largest, least = max(finite, default=1.0), min(map(_size, rows), default=0.0)
    paths: dict[str, list[str]] = defaultdict(list)
    for k, row in enumerate(rows):
        for kind, start, stop in _stretches(row, trace.length, largest):
            paths[kind].append(f"M{_at(start, trace):.1f} {k * thick:.1f}h{_at(stop - start, trace):.1f}v{thick:.1f}")
            paths[kind][-1] += f"h-{_at(stop - start, trace):.1f}z"
    front = [(_at(row.front, trace), (k + 1) * thick) for k, row in enumerate(rows)]
    in_order = [(_at(min(row.number, trace.length), trace), (k + 1) * thick) for k, row in enumerate(rows)]
    kept = "" if len(rows) == trace.count else f", {len(rows)} of them shown"
    return Convergence(
        loop=trace.loop,
        title=f"{trace.loop}: {count(trace.count, 'sweep')} of {count(trace.length, 'step')}{kept}",
        height=round(thick * len(rows), 1),
        cells=tuple((kind, "".join(parts)) for kind, parts in sorted(paths.items())),
        front=_line([(0.0, 0.0), *front]),
        in_order=_line([(0.0, 0.0), *in_order]),
        residual=_line(list(_residuals(rows, largest, least))),
        largest=f"{largest:.1e}",
        least="0" if least == 0 else f"{least:.1e}",
    )


def _stretches(row: SweepTrace, length: int, largest: float) -> Iterator[tuple[str, float, float]]:
    """Class, first step and end of the neighbours that look alike; what lies before a window is solved."""
    each, bounds = (row.stop - row.start) / len(row.changes), [(FINAL, 0.0, float(row.start))]
    for k, change in enumerate(row.changes):
        kind, start = _kind(change, largest), row.start + k * each
        last, first, _ = bounds[-1]
        bounds[-1:] = [(kind, first, start + each)] if kind == last else [bounds[-1], (kind, start, start + each)]
    yield from (one for one in bounds if one[2] > one[1])


def _kind(change: float, largest: float) -> str:
    if change == 0:
        return FINAL
    if not math.isfinite(change):
        return BROKEN
    return f"h{min(_CLASSES, 1 + int(-math.log10(change / largest)))}"


def _at(step: float, trace: Trace) -> float:
    return WIDE * step / trace.length


def _size(row: SweepTrace) -> float:
    return max(row.changes)


def _residuals(rows: Sequence[SweepTrace], largest: float, least: float) -> Iterator[tuple[float, float]]:
    """The largest change of each sweep on a scale of powers of ten; 0 lies at the lower edge."""
    finite = [_size(row) for row in rows if 0 < _size(row) < math.inf]
    low = math.log10(least if least > 0 else min(finite, default=largest) / 10)
    high = math.log10(largest)
    for k, row in enumerate(rows):
        size = min(_size(row), largest)
        part = 0.0 if size == 0 or high == low else (math.log10(size) - low) / (high - low)
        yield WIDE * (k + 0.5) / len(rows), 100 * (1 - part)


def _line(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
