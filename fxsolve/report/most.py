"""Which loops of a program with hundreds of them are worth a reader's time."""

from dataclasses import dataclass

from fxsolve.report.data import LoopReport, ReportData
from fxsolve.report.units import time_text

MOST_LOOPS = 40


@dataclass(frozen=True)
class ShownLoops:
    """The loops that take longest, in the order in which they run, and what is said of all `rest`."""

    loops: tuple[LoopReport, ...]
    rest: str = ""

    def has(self, name: str) -> bool:
        return not self.rest or any(loop.name == name for loop in self.loops)


def shown_loops(report: ReportData) -> ShownLoops:
    """All loops, or `MOST_LOOPS` of them; JSON has them all."""
    if len(report.loops) <= MOST_LOOPS:
        return ShownLoops(report.loops)
    longest = sorted(range(len(report.loops)), key=lambda k: -_seconds(report.loops[k]))[:MOST_LOOPS]
    others = [loop for k, loop in enumerate(report.loops) if k not in longest]
    taken = time_text(sum(map(_seconds, others)))
    rest = f"and {len(others):,} loops more, which take {taken} in all; the JSON has them"
    return ShownLoops(tuple(report.loops[k] for k in sorted(longest)), rest)


def _seconds(loop: LoopReport) -> float:
    return loop.chosen.seconds or 0.0
