"""From a recorded program and what is asked for to a module that gives the recorded results."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from fxsolve.capture.effects.mutations import note_mutations
from fxsolve.capture.program import Program
from fxsolve.codegen.emit import Emitted
from fxsolve.loops.partition import Partition
from fxsolve.plan.decision import Decision
from fxsolve.plan.guarded import exact_for
from fxsolve.plan.legalize import ASKED
from fxsolve.plan.methods import METHODS
from fxsolve.plan.purse import Purse
from fxsolve.plan.tolerance import loosest_stop
from fxsolve.report.loops import loop_reports
from fxsolve.report.report import Report
from fxsolve.runtime.checks import check_example
from fxsolve.runtime.entries import Options
from fxsolve.runtime.equations import partition_for
from fxsolve.runtime.faults import DiffersError
from fxsolve.runtime.gradients import Differentiable, make_differentiable
from fxsolve.runtime.straight_code import structure_of
from fxsolve.runtime.verdict import TIGHT, Verdict
from fxsolve.solvers.blocks import notes_on_blocks
from fxsolve.stages import Clock, as_stop, emit, emit_passes, schedule

Made = tuple[Decision, Emitted | Differentiable]


@dataclass
class Maker:
    """Makes modules of one recorded program; the `report` is about the one that was made last, with its `tolerance`.

    Its equations are `known` where recordings at other lengths tell them.
    """

    captured: Program
    known: Partition | None
    options: Options
    clock: Clock
    report: Report
    purse: Callable[[], Purse]
    tolerance: float | None = None

    def partition(self) -> Partition:
        """The equations of the program."""
        parts: Partition = self.known or self.clock.time("partition", partition_for, self.captured, self.options)
        notes, structure = (*parts.notes, *self.captured.notes), structure_of(self.captured, parts.system, self.clock)
        self.report = replace(self.report, notes=notes, structure=structure)
        return parts

    def note(self, note: str) -> None:
        """Say it in the report, unless there is nothing to say."""
        if note:
            self.report = replace(self.report, notes=(*self.report.notes, note))

    def best(self, parts: Partition) -> Made:
        """What an automatic choice gives, checked; a safer choice where that does not reproduce the recorded run."""
        for tolerance in (self.options.tolerance, TIGHT):
            try:
                return self.solve(parts, Verdict("auto", tolerance))
            except DiffersError as error:
                parts = replace(parts, notes=(*parts.notes, f"{self.report.schedule} was dropped: {error}"))
        return self.solve(parts, Verdict("gs", self.options.tolerance))

    def solve(self, parts: Partition, asked: Verdict) -> Made:
        """What a schedule gives, checked; of loops that numbers depend on which the program reads, a safer one."""
        self.tolerance = tolerance = asked.tolerance
        settings = (asked.schedule, self.options.backend, tolerance, METHODS, self.purse())
        decision: Decision = self.clock.time("schedule", schedule, self.captured, parts, *settings)
        if asked.note:
            decision = _attributed(decision, asked.note)
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
        modules = (emitted.module, *([emitted.passes.backward] if isinstance(emitted, Differentiable) else []))
        notes = (*notes, *(note for module in modules for note in notes_on_blocks(module)))
        schedule_text = str(decision.schedule)
        self.report = replace(self.report, status="emitted", schedule=schedule_text, loops=loops, notes=notes)
        stop = loosest_stop(parts.system, decision.schedule, as_stop(tolerance))
        turned = self.clock.time("check", self._check, emitted, decision, stop)
        if turned and not decision.turned:
            return self._try(parts, replace(decision, turned=turned), tolerance)
        self.report = replace(self.report, stop=stop)
        return emitted

    def _emit(self, parts: Partition, decision: Decision, tolerance: float | None) -> Emitted | Differentiable:
        settings = (self.captured, parts, decision, tolerance)
        if self.captured.backward is None:
            return self.clock.time("emit", emit, *settings)
        return make_differentiable(self.captured, self.clock.time("emit", emit_passes, *settings))

    def _check(self, emitted: Emitted | Differentiable, decision: Decision, stop: float) -> tuple[int, ...]:
        """The emitted module must reproduce the recorded run; the results that lie in memory in another way."""
        found = check_example(emitted, self.captured, decision, stop)
        self.report = replace(self.report, check=found.results, certificates=found.certificates, traces=found.traces)
        if found.gradients is not None:
            self.report = replace(self.report, gradient_check=found.gradients)
        if found.fault:
            raise DiffersError(found.fault)
        return found.turned


def _attributed(decision: Decision, note: str) -> Decision:
    """The choices are those of whoever decided, not of the user."""
    reasons = (choice.chosen.reason.replace(ASKED, note, 1) for choice in decision.choices)
    pairs = zip(decision.choices, reasons, strict=True)
    choices = tuple(replace(one, chosen=replace(one.chosen, reason=reason)) for one, reason in pairs)
    return replace(decision, choices=choices)
