"""What a plan that is saved holds of the compiled versions of a program."""

from collections.abc import Iterable

from fxsolve.report.data import PlannedReport
from fxsolve.runtime.cache import ORIGINAL, Variant


def planned(variants: Iterable[Variant]) -> tuple[PlannedReport, ...]:
    """What was decided about the kinds of calls that these answer, once for each system."""
    known = (_planned(one) for one in variants)
    return tuple({one.graph: one for one in known if one is not None}.values())


def _planned(variant: Variant) -> PlannedReport | None:
    settled, report = variant.entry.settled, variant.report
    if settled is None:
        return None
    schedule, reason = ("", report.reason) if variant.schedule is ORIGINAL else (str(variant.schedule), "")
    return PlannedReport(report.signature, schedule, settled.tolerance, reason, settled.graph)
