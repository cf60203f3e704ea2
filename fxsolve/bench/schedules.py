"""Which schedules take part: that of an automatic choice, every method by its name, and what else was weighed."""

from collections.abc import Iterator

from fxsolve.plan.methods import METHODS
from fxsolve.report.data import LoopReport, ReportData

AUTO = "auto"
NAMES = (AUTO, "gs", *(method.name for method in METHODS if method.by_name))


def is_named_in(name: str, schedule: str) -> bool:
    """Whether a method that was asked for by its name fits a loop at all, and is in the schedule."""
    return name in (AUTO, "gs") or not name.isidentifier() or f"{name}(" in schedule


def weighed(report: ReportData) -> dict[str, str]:
    """The chosen schedule with another one for its longest loop, by that other one, for each that was weighed."""
    loop = max(report.loops, key=lambda one: one.chosen.seconds or 0.0, default=None)
    return {} if loop is None else dict(_exchanged(report, loop))


def _exchanged(report: ReportData, loop: LoopReport) -> Iterator[tuple[str, str]]:
    chosen = loop.chosen.schedule
    if report.schedule.count(chosen) != 1:
        return  # it is in the steps of another one, or the program runs as written
    for other in loop.rejected:
        if other.seconds is not None and other.schedule != chosen:
            yield other.schedule, report.schedule.replace(chosen, other.schedule)
