"""Make known what the calls of an entry have shown since its first one."""

from fxsolve.runtime.entries import Entry
from fxsolve.runtime.verdict import Measured, Verdict, sweeps_of

_AGAIN = 0.25  # of a price is what it costs another process, which finds the code in inductor's cache


def remember(entry: Entry) -> None:
    """What answers such calls is what a next process begins with; where more can be gained, that stays as it is."""
    report = entry.report
    if entry.settled is None or entry.prospect is not None:
        return
    sweeps = sweeps_of(report.certificates)
    measured = Measured(
        report.original_seconds,
        report.emitted_seconds,
        is_close=entry.is_close,
        sweeps=sweeps,
        by_sweeps=entry.by_sweeps,
    )
    reason = report.reason if entry.ready is None else ""
    schedule = str(entry.decision.schedule) if entry.ready is not None and entry.decision is not None else ""
    entry.settled.source.publish(Verdict(schedule, entry.settled.tolerance, reason, measured=measured))


def remember_purchase(before: Entry, bought: Entry) -> None:
    """A next process begins as this one did, knows what is to be gained, and pays less for it."""
    prospect = before.prospect
    if prospect is None or before.settled is None:
        return
    if bought.ready is None or bought.ready is before.ready:  # what was bought is not faster
        remember(bought)
        return
    now, then = bought.report.emitted_seconds, before.report.emitted_seconds
    gain = then - now if now is not None and then is not None else prospect.saving
    reason = before.report.reason if before.ready is None else ""
    price, sweeps = _AGAIN * prospect.price, sweeps_of(before.report.certificates)
    measured = Measured(
        before.report.original_seconds, then, max(gain, 0.0), price, before.is_close, sweeps, before.by_sweeps
    )
    verdict = Verdict(str(prospect.schedule), before.settled.tolerance, reason, measured=measured)
    before.settled.source.publish(verdict)


def forget(entry: Entry) -> None:
    """What answered such calls was wrong."""
    if entry.settled is not None:
        entry.settled.source.forget()
