"""From a recorded program to a checked module that is faster, or the reason to leave the program alone."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from fxsolve.capture.program import Program
from fxsolve.codegen.emit import Emitted
from fxsolve.economy.work import counts_work
from fxsolve.errors import FxSolveError, InputError, LeftAloneError, ScheduleError
from fxsolve.ir.fingerprint import Fingerprint, fingerprint
from fxsolve.ir.nested import every_repeat
from fxsolve.loops.partition import Partition
from fxsolve.loops.rolling.roll import MIN_CALLS, MIN_TRIPS
from fxsolve.loops.stopping.counts import folded
from fxsolve.plan.decision import Decision
from fxsolve.plan.purse import Offer
from fxsolve.plan.tolerance import is_looser
from fxsolve.report.units import count
from fxsolve.runtime.contest import may_begin_behind, may_take_turns
from fxsolve.runtime.entries import Entry, Options
from fxsolve.runtime.family import member
from fxsolve.runtime.faults import NoLoopError, internal_error
from fxsolve.runtime.gradients import Differentiable, Original
from fxsolve.runtime.judging import judge, time_both
from fxsolve.runtime.making import Made, Maker
from fxsolve.runtime.modes import plain_torch
from fxsolve.runtime.plans import SavedPlan
from fxsolve.runtime.prospect import Prospect, prospect_of
from fxsolve.runtime.ready import generators_of, make_ready
from fxsolve.runtime.sources import Decided, Source, settle
from fxsolve.runtime.straight_code import names_blocks
from fxsolve.runtime.verdict import TIGHT, Measured, Verdict, sweeps_of
from fxsolve.runtime.whose import source_of
from fxsolve.solvers.requests import unasked
from fxsolve.stages import as_stop
from fxsolve.state.generators import rewinder
from fxsolve.torch_compat.trees import pytree

_ORIGINAL = "original"
_MORE = 1.5  # times as many sweeps as were measured are those of another program


@dataclass
class Compilation:
    """The stages after recording, for the call `original`; `rewind` puts the generators back to where it began.

    Of a call, `reading` are seconds that the program itself does not take. Where the choice is automatic, `source` says
    where it may have been made before.
    """

    original: Original
    maker: Maker
    rewind: Callable[[], None]
    reading: float
    source: Callable[[Program, Options, Fingerprint], Source] = source_of
    made: Made | None = None
    parts: Partition | None = None  # once loops were looked for
    settled: Decided | None = None
    is_close: bool = False
    may_decide: bool = False
    by_sweeps: bool = False

    def entry(self) -> Entry:
        """What is to answer such calls."""
        rewind = rewinder(generators_of(self.maker.captured))
        try:
            with unasked():
                return self._entry()
        except NoLoopError as reason:
            return replace(self._left_alone(str(reason)), is_undecided=True)
        except LeftAloneError as reason:
            return self._left_alone(str(reason))
        except (ScheduleError, InputError) as error:
            if not self.maker.options.is_automatic:
                raise  # the user's own schedule does not fit the program
            return self._left_alone(internal_error(self.maker.clock.stage, error))
        except FxSolveError as error:
            return self._left_alone(str(error))
        except Exception as error:
            return self._left_alone(internal_error(self.maker.clock.stage, error))
        finally:
            rewind()

    def _left_alone(self, reason: str) -> Entry:
        nothing = {"schedule": "original", "certificates": (), "traces": ()}
        report = replace(self.maker.report, status="left alone", reason=reason, **nothing)
        system = self.parts.system if self.parts is not None else None
        entry = Entry(report, prospect=self._prospect(), system=system, settled=self.settled)
        return replace(entry, by_sweeps=self.by_sweeps)

    def _prospect(self) -> Prospect | None:
        """What compiled steps are predicted to save later."""
        if self.made is None or self.parts is None:
            return None
        captured, (decision, emitted) = self.maker.captured, self.made
        reference = make_ready(captured, decision, emitted, self.parts.rested)
        return prospect_of(captured, self.parts, decision, reference, self.maker.report)

    def _entry(self) -> Entry:
        captured = self.maker.captured
        with plain_torch():
            self.parts = parts = self.maker.partition()
            asked = self._asked(parts)
        decision, emitted = self._chosen(parts) if asked.schedule == "auto" else self._named(parts, asked)
        # At another length, nobody would ask again what the system rests on.
        repeats = list(every_repeat(parts.system))
        is_alone = self.maker.known is not None or parts.bound or not repeats or any(one.until for one in repeats)
        leaves = pytree.tree_leaves((self.original.args, self.original.kwargs))
        kept = None if is_alone else member(captured, parts, leaves)
        ready = make_ready(captured, decision, emitted, parts.rested)
        entry = Entry(self.maker.report, ready, decision, kept, prospect=self._prospect(), is_close=self.is_close)
        stops = folded(captured) if any(one.until is not None for one in repeats) else None
        entry = replace(entry, folded=stops, system=parts.system, settled=self.settled)
        return replace(entry, may_decide=self.may_decide, by_sweeps=self.by_sweeps)

    def _asked(self, parts: Partition) -> Verdict:
        """What the user asks for; of a plan, what it decides about this system. Raises for what is left alone."""
        captured, options, graph = self.maker.captured, self.maker.options, fingerprint(parts.system)
        asked = Verdict(str(options.schedule), options.tolerance)
        if isinstance(options.schedule, SavedPlan):
            asked = options.schedule.verdict_about(graph, captured.example.inputs)
        self.settled = Decided(graph, asked.tolerance, self.source(captured, options, graph))
        if asked.reason or asked.schedule == _ORIGINAL:
            raise LeftAloneError(f"{asked.by}: {asked.reason}" if asked.reason else "schedule='original' asks for that")
        if not parts.system.repeats and not names_blocks(parts.system, asked.schedule, asked.tolerance):
            raise NoLoopError(self._why_no_loop(parts))
        if captured.grad and captured.backward is None:
            for one in parts.system.repeats:
                self.maker.note(f"{one.name}: {one.length} steps at {one.source} were rolled")
            raise LeftAloneError(
                "the result wants gradients, which only the original gives; call it under torch.no_grad()"
            )
        return asked

    def _why_no_loop(self, parts: Partition) -> str:
        notes, deep = (*parts.notes, *self.maker.captured.notes), self.maker.report.structure
        nothing = f"no loop was found: it takes {MIN_TRIPS} equal steps and {MIN_CALLS} calls at least"
        reason = notes[0] if notes else nothing
        if deep is not None and self.maker.options.is_automatic:
            return f"sequential is best here: {count(len(deep.blocks), 'block')}, {deep.depth:,} deep; {reason}"
        return reason

    def _named(self, parts: Partition, asked: Verdict) -> Made:
        """What the user's schedule gives."""
        with plain_torch():
            made = self.maker.solve(parts, asked)
        self._race(made[1])
        self.maker.note(asked.note)
        return made

    def _chosen(self, parts: Partition) -> Made:
        """What runs instead of the original, by whoever decides."""
        assert self.settled is not None
        source = self.settled.source
        verdict, made = settle(source, lambda: self._own(parts), lambda verdict: self._adopted(parts, verdict))
        counted = "seconds are counted from operations, since torch.use_deterministic_algorithms asks for it"
        for note in (verdict.note, *source.notes(), counted if counts_work() else ""):
            self.maker.note(note)
        self.settled = replace(self.settled, tolerance=verdict.tolerance)
        if made is None:
            raise LeftAloneError(verdict.reason)
        return made

    def _own(self, parts: Partition) -> tuple[Verdict, Made | None]:
        """What this process finds best."""
        try:
            with plain_torch():
                self.made = self.maker.best(parts)
            self.by_sweeps = any(choice.by_sweeps for choice in self.made[0].choices)
            reason = self._race(self.made[1])
        except LeftAloneError as error:
            reason = str(error)
        return self._verdict(reason), None if reason else self.made

    def _verdict(self, reason: str) -> Verdict:
        """What was decided, with what was measured for it."""
        prospect, report = self._prospect(), self.maker.report
        gain, price = (prospect.saving, prospect.price) if prospect is not None else (0.0, 0.0)
        sweeps = sweeps_of(report.certificates)
        measured = Measured(
            report.original_seconds, report.emitted_seconds, gain, price, self.is_close, sweeps, self.by_sweeps
        )
        schedule = str(self.made[0].schedule) if self.made is not None else ""
        return Verdict(schedule, self.maker.tolerance, reason, measured=measured)

    def _adopted(self, parts: Partition, verdict: Verdict) -> Made | None:
        """What was decided elsewhere, checked on what this process has recorded; None for the original."""
        found = verdict.measured or Measured()
        self.by_sweeps = found.by_sweeps
        self.maker.report = replace(self.maker.report, original_seconds=found.original, emitted_seconds=found.emitted)
        if verdict.reason and not found.gain:
            return None
        try:
            with plain_torch():
                decision, emitted = self.maker.solve(parts, verdict)
        except ScheduleError as error:
            raise LeftAloneError(f"what {verdict.by} decided does not fit this program: {error}") from error
        self._check_adopted(parts, decision, verdict)
        if found.gain:
            decision = replace(decision, offers=(Offer("", fingerprint(parts.system), found.gain, found.price),))
        self.made = decision, emitted
        self.may_decide = may_take_turns(self.maker.captured)
        self.is_close = found.is_close and self.may_decide
        return None if verdict.reason else self.made

    def _check_adopted(self, parts: Partition, decision: Decision, verdict: Verdict) -> None:
        """Raises `LeftAloneError` for what this program was not measured with, or nobody asked for."""
        if is_looser(parts.system, decision.schedule, as_stop(self.maker.options.tolerance), TIGHT):
            raise LeftAloneError(f"what {verdict.by} decided has a tolerance that nobody asked for")
        if verdict.measured is None:
            return
        if str(decision.schedule) != verdict.schedule:
            raise LeftAloneError(f"what {verdict.by} measured becomes {decision.schedule} here")
        if any(one.solution.status == "finished sequentially" for one in self.maker.report.certificates):
            raise LeftAloneError(f"the sweeps that {verdict.by} measured do not settle here")
        here, there = sweeps_of(self.maker.report.certificates), verdict.measured.sweeps
        if there and here > _MORE * there:
            raise LeftAloneError(f"it takes {here} sweeps here, of which {verdict.by} measured {there}")

    def _race(self, emitted: Emitted | Differentiable) -> str:
        """Time the module against the original; the reason to leave the program alone, "" where it is to be used."""
        maker = self.maker
        times = time_both(self.original, emitted, maker.captured, self.rewind)
        maker.report = replace(maker.report, original_seconds=times.original, emitted_seconds=times.emitted)
        if not maker.options.is_automatic:
            return ""
        found = judge(times, emitted, maker.captured, self.reading)
        self.may_decide = may_take_turns(maker.captured)
        self.is_close = found.is_close and (may_begin_behind(maker.captured) if found.reason else self.may_decide)
        return "" if self.is_close else found.reason
