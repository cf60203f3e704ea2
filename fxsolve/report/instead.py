"""What would have to change for another schedule to be chosen instead, from the costs that were weighed."""

from collections.abc import Iterator

from fxsolve.report.data import CandidateReport, LoopReport
from fxsolve.report.units import count, time_text


def instead_text(loop: LoopReport) -> str:
    """The break-even points of the choice; "" where nothing else has a known cost, or cost decided nothing."""
    others = [one for one in loop.rejected if one.seconds]
    nearest = min(others, key=lambda one: one.seconds or 0.0, default=None)
    if nearest is None or nearest.seconds is None or not loop.chosen.seconds or nearest.seconds <= loop.chosen.seconds:
        return ""
    return "; ".join(_points(loop, nearest, loop.chosen.seconds, nearest.seconds))


def _points(loop: LoopReport, nearest: CandidateReport, chosen: float, other: float) -> Iterator[str]:
    yield f"{nearest.schedule} if it took {100 * (1 - chosen / other):.0f}% less{_more_sweeps(loop, other)}"
    if loop.sweeps is None and loop.sweep_seconds and (most := int(chosen / loop.sweep_seconds)) > 1:
        yield f"sweeps if fewer than {most:,} were enough"
    in_order = (loop.step_seconds or 0.0) * loop.length
    if in_order > 1.01 * other:  # otherwise it is the nearest itself
        yield f"in order if a step took less than {time_text(chosen / loop.length)}"


def _more_sweeps(loop: LoopReport, other: float) -> str:
    """The number of sweeps that would take as long as the other schedule."""
    if not loop.sweep_seconds or loop.sweeps is None:
        return ""
    most = int(other / loop.sweep_seconds)
    return f", or if more than {count(most, 'sweep')} were needed" if most > loop.sweeps else ""
