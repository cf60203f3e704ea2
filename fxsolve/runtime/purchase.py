"""Compile the steps of an entry whose calls have lost as much time as that is predicted to take."""

from dataclasses import replace

from fxsolve.capture.capture import name_of
from fxsolve.economy.ledger import Ledger
from fxsolve.errors import GuardError
from fxsolve.plan.rent import Paid
from fxsolve.report.report import Report
from fxsolve.report.units import time_text
from fxsolve.runtime.cache import Variant
from fxsolve.runtime.compilation import Compilation
from fxsolve.runtime.entries import Entry, Options
from fxsolve.runtime.gradients import Original
from fxsolve.runtime.guard_keys import CallKey
from fxsolve.runtime.making import Maker
from fxsolve.runtime.prospect import Prospect
from fxsolve.runtime.sources import Nowhere
from fxsolve.stages import Clock
from fxsolve.state.generators import rewinder_of
from fxsolve.torch_compat.trees import pytree

_PUT_OFF = 0.1  # of a price has to be lost again before a purchase is tried once more


def buy(
    prospect: Prospect,
    variant: Variant,
    call: CallKey,
    original: Original,
    options: Options,
    ledger: Ledger,
    reading: float,
) -> Entry:
    """The entry with compiled steps, or that of `variant`, with a note, where they are not faster, or not to be had.

    Nothing is recorded: the steps are compiled from the recording of the first call, and compared with the module that
    ran so far on the arguments of this one. Afterwards all is as before the call; nothing that goes wrong is raised.
    """
    clock, purse, old, calls = Clock(), Paid(), variant.entry, variant.calls
    rewind = rewinder_of(original.program, pytree.tree_leaves((original.args, original.kwargs)))
    lost = f"bought after {calls:,} calls, which lost about {time_text(prospect.saving * calls)} against compiled steps"
    try:
        program = clock.time("reference", prospect.refreshed, call.tensors)
        ledger.pay(prospect.graphs, prospect.price)
        report = Report(name_of(original.program), "left alone", signature=old.report.signature)
        maker = Maker(program, prospect.parts, options, clock, report, lambda: purse)
        bought = Compilation(original, maker, rewind, reading, lambda *_: Nowhere()).entry()
    except GuardError:  # another recording is the one for this call; the next one may be for this
        ledger.pay(prospect.graphs, _PUT_OFF * prospect.price)
        return old
    except Exception as error:  # the old entry is right, and stays
        return _with_note(old, f"{lost}; they could not be made: {type(error).__name__}: {error}")
    finally:
        rewind()
    ledger.graphs |= purse.graphs
    if bought.ready is None or not _has_compiled_steps(bought):
        return _with_note(old, f"{lost}; not taken: {_why_not(bought)}")
    spent = f"compiled steps were {lost}; that took {time_text(sum(clock.seconds.values()))}"
    report = replace(
        bought.report,
        calls=old.report.calls,
        draws=old.report.draws,
        guards=old.report.guards,
        notes=(*bought.report.notes, spent),
        seconds=(*old.report.seconds, *((f"{stage}, later", taken) for stage, taken in clock.seconds.items())),
    )
    entry = replace(old, report=report, ready=bought.ready, decision=bought.decision, prospect=None)
    return replace(entry, is_close=bought.is_close, may_decide=bought.may_decide)


def _has_compiled_steps(entry: Entry) -> bool:
    choices = entry.decision.choices if entry.decision else ()
    return any(one.chosen.backend == "inductor" for choice in choices for one in choice.all())


def _why_not(entry: Entry) -> str:
    """Why what was bought does not run."""
    choices = entry.decision.choices if entry.decision else ()
    tried = (other for choice in choices for one in choice.all() for other in one.rejected)
    reasons = (one.reason if one.seconds is None else "" for one in tried if one.backend == "inductor")
    return entry.report.reason or next(filter(None, reasons), "they are not faster")


def _with_note(entry: Entry, note: str) -> Entry:
    return replace(entry, report=replace(entry.report, notes=(*entry.report.notes, note)), prospect=None)
