"""What a call was predicted to cost, and what it was measured to: in order, and as chosen."""

from collections.abc import Iterator
from dataclasses import dataclass

from fxsolve.report.data import LoopReport, ReportData
from fxsolve.report.units import time_text


@dataclass(frozen=True)
class Bar:
    """A stretch of a timeline: its part of the whole in percent, of loop number `number`."""

    loop: str
    time: str
    percent: float
    number: int


@dataclass(frozen=True)
class Timeline:
    """What runs one after the other, the loops alone; `predicted` is their sum, `measured` a whole call."""

    name: str
    bars: tuple[Bar, ...]
    predicted: str
    measured: str


def timelines(report: ReportData) -> tuple[Timeline, ...]:
    """In order, and as chosen, on one scale; nothing where no cost of a loop is known."""
    outer = [(k, loop) for k, loop in enumerate(report.loops) if not loop.outer]
    rows = [
        ("in order", [(k, loop.name, _in_order(loop)) for k, loop in outer], report.original_seconds),
        ("as chosen", [(k, loop.name, loop.chosen.seconds) for k, loop in outer], report.emitted_seconds),
    ]
    totals = [sum(seconds or 0.0 for _, _, seconds in parts) for _, parts, _ in rows]
    if not all(totals):
        return ()
    return tuple(
        Timeline(name, tuple(_bars(parts, max(totals))), time_text(total), time_text(measured))
        for (name, parts, measured), total in zip(rows, totals, strict=True)
    )


def _in_order(loop: LoopReport) -> float | None:
    """Every step as it was written, one after the other."""
    return loop.chosen.seconds if loop.step_seconds is None else loop.step_seconds * loop.length


def _bars(parts: list[tuple[int, str, float | None]], longest: float) -> Iterator[Bar]:
    for number, name, seconds in parts:
        if seconds:
            yield Bar(name, time_text(seconds), round(100 * seconds / longest, 2), number % 6)
