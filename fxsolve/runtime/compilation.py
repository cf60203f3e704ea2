"""From a recorded program to a checked module that is faster, or the reason to leave the program alone."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from torch import Tensor

from fxsolve.capture.effects.mutations import note_mutations
from fxsolve.capture.program import Program
from fxsolve.codegen.emit import Emitted
from fxsolve.errors import FxSolveError, InputError, LeftAloneError, ScheduleError
from fxsolve.ir.nested import every_repeat
from fxsolve.ir.spec import System
from fxsolve.loops.partition import Partition
from fxsolve.loops.rolling.roll import MIN_CALLS, MIN_TRIPS
from fxsolve.loops.stopping.counts import folded
from fxsolve.plan.decision import Decision
from fxsolve.plan.guarded import exact_for
from fxsolve.plan.methods import METHODS
from fxsolve.plan.tolerance import loosest_stop
from fxsolve.report.loops import loop_reports
from fxsolve.report.report import Report
from fxsolve.report.units import count
from fxsolve.runtime.checks import check_example
from fxsolve.runtime.contest import is_close, may_take_turns
from fxsolve.runtime.entries import Costs, Entry, Options
from fxsolve.runtime.family import member
from fxsolve.runtime.faults import DiffersError, NoLoopError, internal_error
from fxsolve.runtime.gradients import Differentiable, Original, make_differentiable
from fxsolve.runtime.group import Ballot, Verdict, ballot_about
from fxsolve.runtime.modes import plain_torch
from fxsolve.runtime.prospect import Prospect, prospect_of
from fxsolve.runtime.ready import generators_of, make_ready
from fxsolve.runtime.straight_code import names_blocks, structure_of
from fxsolve.runtime.trial import race, run_original, time_emitted
from fxsolve.solvers.requests import unasked
from fxsolve.stages import Clock, as_stop, emit, emit_passes, partition, schedule
from fxsolve.state.rewind import rewinder
from fxsolve.torch_compat.trees import pytree

_Made = tuple[Decision, Emitted | Differentiable]
_WORTH = 1.2
_CALL_SECONDS = 3e-5  # what a call costs besides: its guards, what it hands on
_STORE_SECONDS = 2e-6  # for each tensor that is kept until the next call, and looked at there
_TIGHT = 1e-15  # sweeps that are only compared after they have stopped changing, nearly


@dataclass
class Compilation:
    """The stages after recording, with what they share; `rewind` puts the generators back to where it began."""

    program: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    captured: Program
    known: Partition | None
    options: Options
    clock: Clock
    report: Report
    rewind: Callable[[], None]
    costs: Costs
    tolerance: float | None = None  # of what was made last
    made: _Made | None = None  # and checked
    parts: Partition | None = None
    is_close: bool = False
    system: System | None = None  # once its loops were looked for

    def entry(self) -> Entry:
        rewind = rewinder(generators_of(self.captured))
        try:
            with unasked():
                return self._entry()
        except NoLoopError as reason:
            return replace(self._left_alone(str(reason)), is_undecided=True)
        except LeftAloneError as reason:
            return self._left_alone(str(reason))
        except (ScheduleError, InputError) as error:
            if self.options.schedule != "auto":
                raise  # the user's own schedule does not fit the program
            return self._left_alone(internal_error(self.clock.stage, error))
        except FxSolveError as error:
            return self._left_alone(str(error))
        except Exception as error:
            return self._left_alone(internal_error(self.clock.stage, error))
        finally:
            rewind()

    def _left_alone(self, reason: str) -> Entry:
        report = replace(self.report, status="left alone", reason=reason, schedule="original", certificates=())
        return Entry(report, prospect=self._prospect(), system=self.system)

    def _prospect(self) -> Prospect | None:
        """What compiled steps are predicted to save later."""
        if self.made is None or self.parts is None:
            return None
        decision, emitted = self.made
        reference = make_ready(self.captured, decision, emitted, self.parts.rested)
        return prospect_of(self.captured, self.parts, decision, reference, self.report)

    def _entry(self) -> Entry:
        with plain_torch():
            self.parts = parts = self._partition()
            if self.captured.grad and self.captured.backward is None:
                self._refuse_gradients(parts)
        decision, emitted = self._settled(parts)
        # At another length, nobody would ask what the system rests on.
        repeats = list(every_repeat(parts.system))
        is_alone = self.known is not None or parts.rested or not repeats or any(one.until for one in repeats)
        leaves = pytree.tree_leaves((self.args, self.kwargs))
        kept = None if is_alone else member(self.captured, parts.system, leaves)
        stops = any(one.until is not None for one in repeats)
        ready = make_ready(self.captured, decision, emitted, parts.rested)
        entry = Entry(self.report, ready, decision, kept, prospect=self._prospect(), is_close=self.is_close)
        return replace(entry, folded=folded(self.captured) if stops else None, system=parts.system)

    def _settled(self, parts: Partition) -> _Made:
        """What runs instead of the original; the processes of a group decide alike where a clock decides."""
        ballot, options = Ballot(), self.options
        if options.schedule == "auto":
            ballot = ballot_about(self.captured, options.backend, options.tolerance)
        verdict, made = ballot.settle(lambda: self._own(parts), lambda verdict: self._adopted(parts, verdict))
        if verdict.note:
            self.report = replace(self.report, notes=(*self.report.notes, verdict.note))
        if made is None:
            raise LeftAloneError(verdict.reason)
        return made

    def _own(self, parts: Partition) -> tuple[Verdict, _Made | None]:
        """What this process finds best."""
        try:
            with plain_torch():
                self.made = decision, emitted = self._checked(parts)
            self._race(emitted, decision)
        except LeftAloneError as error:
            return Verdict("", reason=str(error)), None
        return Verdict(str(decision.schedule), self.tolerance), (decision, emitted)

    def _adopted(self, parts: Partition, verdict: Verdict) -> _Made | None:
        """What another process found best, checked on what this one has recorded."""
        self.report = replace(self.report, original_seconds=None, emitted_seconds=None)
        if not verdict.schedule:
            return None
        try:
            with plain_torch():
                return self._solve(parts, verdict)
        except ScheduleError as error:
            raise LeftAloneError(f"the schedule of the group does not fit what this process runs: {error}") from error

    def _checked(self, parts: Partition) -> _Made:
        """A decision, and its module that reproduces the recorded run; a safer one where the automatic one does not."""
        if self.options.schedule != "auto":
            return self._solve(parts, Verdict(self.options.schedule, self.options.tolerance))
        for tolerance in (self.options.tolerance, _TIGHT):
            try:
                return self._solve(parts, Verdict("auto", tolerance))
            except DiffersError as error:
                parts = replace(parts, notes=(*parts.notes, f"{self.report.schedule} was dropped: {error}"))
        return self._solve(parts, Verdict("gs"))

    def _solve(self, parts: Partition, asked: Verdict) -> _Made:
        self.tolerance = tolerance = asked.tolerance
        settings = (asked.schedule, self.options.backend, tolerance, METHODS, self.costs.purse())
        decision: Decision = self.clock.time("schedule", schedule, self.captured, parts, *settings)
        while True:
            try:
                return decision, self._try(parts, decision, tolerance)
            except DiffersError as error:
                safer = None
                if error.guard is not None:
                    safer = exact_for(self.captured, parts.system, decision, error.guard)
                if safer is None:
                    raise
                decision = safer

    def _try(self, parts: Partition, decision: Decision, tolerance: float | None) -> Emitted | Differentiable:
        """The module of a decision, checked."""
        emitted = self._emit(parts, decision, tolerance)
        loops = loop_reports(parts.system, decision)
        notes = (*parts.notes, *self.captured.notes, *decision.notes, *note_mutations(self.captured))
        schedule_text = str(decision.schedule)
        self.report = replace(self.report, status="emitted", schedule=schedule_text, loops=loops, notes=notes)
        stop = loosest_stop(parts.system, decision.schedule, as_stop(tolerance))
        self.clock.time("check", self._check, emitted, decision, stop)
        self.report = replace(self.report, stop=stop)
        return emitted

    def _emit(self, parts: Partition, decision: Decision, tolerance: float | None) -> Emitted | Differentiable:
        settings = (self.captured, parts, decision, tolerance)
        if self.captured.backward is None:
            return self.clock.time("emit", emit, *settings)
        return make_differentiable(self.captured, self.clock.time("emit", emit_passes, *settings))

    def _refuse_gradients(self, parts: Partition) -> NoReturn:
        found = (f"{one.name}: {one.length} steps at {one.source} were rolled" for one in parts.system.repeats)
        self.report = replace(self.report, notes=(*parts.notes, *found))
        raise LeftAloneError("the result wants gradients, which only the original gives; call it under torch.no_grad()")

    def _partition(self) -> Partition:
        parts: Partition = self.known or self.clock.time("partition", partition, self.captured)
        self.system, notes = parts.system, (*parts.notes, *self.captured.notes)
        structure = structure_of(self.captured, parts.system, self.clock)
        self.report = replace(self.report, notes=notes, structure=structure)
        if not parts.system.repeats and not names_blocks(parts.system, self.options.schedule, self.options.tolerance):
            nothing = f"no loop was found: it takes {MIN_TRIPS} equal steps and {MIN_CALLS} calls at least"
            reason = notes[0] if notes else nothing
            deep = self.report.structure
            if deep is not None and self.options.schedule == "auto":
                reason = f"sequential is best here: {count(len(deep.blocks), 'block')}, {deep.depth:,} deep; {reason}"
            raise NoLoopError(reason)
        return parts

    def _check(self, emitted: Emitted | Differentiable, decision: Decision, stop: float) -> None:
        """The emitted module must reproduce the recorded run."""
        found = check_example(emitted, self.captured, decision, stop)
        self.report = replace(self.report, check=found.results, certificates=found.certificates)
        if found.gradients is not None:
            self.report = replace(self.report, gradient_check=found.gradients)
        if found.fault:
            raise DiffersError(found.fault)

    def _race(self, emitted: Emitted | Differentiable, decision: Decision) -> None:
        """Time the module against the original; the faster one stays, unless the user named a schedule."""
        original = Original(self.program, self.args, self.kwargs)
        times = race(
            self._run_original,
            lambda: time_emitted(emitted, self.captured, original),
            decision.sequential_seconds or 0.0,
        )
        self.report = replace(self.report, original_seconds=times.original, emitted_seconds=times.emitted)
        if times.original is None or self.options.schedule != "auto":
            return
        # A backward pass costs more besides than others.
        worth = _WORTH if isinstance(emitted, Differentiable) else 1.0
        besides = _CALL_SECONDS + self.costs.reading + _STORE_SECONDS * len(self.captured.stores.fresh)
        close = is_close(times.original, times.emitted + besides)
        self.is_close = close and may_take_turns(self.captured, emitted)
        if times.emitted * worth + besides > times.original and not self.is_close:
            ratio = times.emitted / times.original
            cost = ", and each call costs something besides" if ratio < 1 else ""
            raise LeftAloneError(f"sequential is best here: the emitted module takes {ratio:.2f} times as long{cost}")

    def _run_original(self) -> float:
        """Run the program once more as if for the first time; returns the seconds."""
        given = tuple(leaf for leaf in pytree.tree_leaves((self.args, self.kwargs)) if isinstance(leaf, Tensor))
        inputs = (*given, *self.captured.example.state)
        if self.captured.draws:
            self.rewind()  # another draw could take another branch, and write where nothing is put back
        try:
            return run_original(Original(self.program, self.args, self.kwargs), self.captured, inputs)
        except Exception as error:
            raise LeftAloneError(
                f"the program raised {type(error).__name__} when it ran a second time on these arguments"
            ) from error
