"""A call by a compiled version: its result, and what happens where the version does not fit, fails or is wrong."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from torch import Tensor

from fxsolve.capture.capture import name_of
from fxsolve.capture.effects.mutations import Kept, copy_result, is_apart, is_laid_out, keep
from fxsolve.errors import GuardError
from fxsolve.report.data import Check, SolveReport
from fxsolve.report.difference import compare, within
from fxsolve.report.report import Report
from fxsolve.runtime.agreement import tolerance_of
from fxsolve.runtime.cache import MAX_MISSES, MAX_RECORDINGS, MAX_VARIANTS, Cache, Group, Variant
from fxsolve.runtime.entries import Entry
from fxsolve.runtime.faults import stray_error
from fxsolve.runtime.gradients import Original
from fxsolve.runtime.guard_keys import CallKey
from fxsolve.runtime.modes import as_written
from fxsolve.runtime.ready import Ready
from fxsolve.runtime.remembering import forget
from fxsolve.solvers.solution import Solution, observe
from fxsolve.solvers.trips import TripsError, trying
from fxsolve.torch_compat.trees import pytree

MISS = object()


class Attempts:
    """Answers calls by the versions in a cache; `latest` is the one that answered last, and `runs` how it did.

    None of them are known where the original answered. `verify` is the option of that name.
    """

    def __init__(self, program: Callable[..., Any], cache: Cache, verify: str | int) -> None:
        self.latest: Variant | None = None
        self.runs: tuple[SolveReport, ...] | None = None
        self._program = program
        self._cache = cache
        self._verify = verify

    def show(self, variant: Variant, runs: tuple[SolveReport, ...] | None = None) -> None:
        """`variant` answered the latest call."""
        self.latest, self.runs = variant, runs

    def reuse(self, group: Group, call: CallKey, original: Original) -> Any:
        """The result by a version whose guards hold, or by the original where that is settled; `MISS` if neither."""
        for variant in () if group.retired else group.variants:
            result = self._attempt(group, variant, call, original)
            if result is not MISS:
                return result
        is_restless = group.misses + 1 >= MAX_MISSES or group.recordings >= MAX_RECORDINGS
        if group.fallback is None and len(group.variants) < MAX_VARIANTS and not is_restless:
            return MISS
        result = original.run()  # first: where it raises, nothing is settled
        if not group.retired:
            group.misses += 1
        if is_restless:
            self._retire(group, _restless(group))
        self._note_original(group)
        return result

    def _attempt(self, group: Group, variant: Variant, call: CallKey, original: Original) -> Any:
        """The result by one version, or `MISS`; the random generators are where they were, then."""
        ready = _ready(variant)
        if ready.fault:
            self._retire(group, ready.fault)
            return MISS
        if ready.is_stale():
            with self._cache.lock:
                group.drop(variant)
            return MISS
        inputs = ready.inputs(call.tensors)
        if not (is_laid_out(ready.effects) and is_apart(ready.effects, inputs)):
            return MISS
        kept = keep(ready.effects, inputs) if self.is_to_verify(variant) else None
        rewind, failed, result = ready.rewinder(), None, None
        with observe() as solutions:
            try:
                result = ready.run(inputs, original)
            except Exception as error:
                failed = error.with_traceback(None)  # which leads to this frame, and so to itself
        if failed is not None:
            rewind()
            if isinstance(failed, TripsError) and failed.may_be:
                result = self._try_steps(group, variant, inputs, original)
                return result if result is not MISS else self._answer_instead(group, variant, failed, original)
            return self._answer_instead(group, variant, failed, original)
        self.show(variant, tuple(map(run_of, solutions)))
        with self._cache.lock:
            group.hit(variant)
        if kept is None:
            return result
        rewind()
        return self._compared(group, variant, result, kept, original)

    def _compared(self, group: Group, variant: Variant, result: Any, kept: Kept, original: Original) -> Any:
        """The `result` of a version where the original gives the same; otherwise that of the original."""
        ours = (copy_result(result), kept.swap())
        try:
            with as_written():
                expected = original.run()
        except Exception as error:
            self._retire(group, f"call {variant.calls} raised {type(error).__name__} in the original alone (verify)")
            raise
        is_right = self._verified(group, variant, ours, (expected, kept.now()))
        # What the program keeps may be, or share memory with, what it returns: then both must come from one run.
        return result if is_right and not _ready(variant).effects.stores.leaves_tensors else expected

    def _answer_instead(self, group: Group, variant: Variant, failed: Exception, original: Original) -> Any:
        """The result of the original where a version raised, or `MISS` where that may be due to its guards.

        What the original raises too is the program's own error. Otherwise, the original runs from now on.
        """
        assert variant.entry.decision is not None
        # With a wrong value in place of one that was read, a module may fail before it reaches its guards.
        guards = _ready(variant).guards
        known = failed if isinstance(failed, GuardError) else None
        if guards or known is not None:
            group.read_at = (known and known.source) or guards[known.number if known else 0].source
            return MISS
        result = original.run()
        self._retire(group, stray_error(failed, variant.entry.decision.schedule))
        self._note_original(group)
        return result

    def _try_steps(self, group: Group, variant: Variant, inputs: tuple[Tensor, ...], original: Original) -> Any:
        """The result of a loop that takes a number of steps that no call has shown, next to the original's.

        `MISS` where the version cannot be run that long, and has done nothing then.
        """
        ready = _ready(variant)
        kept, rewind, result = keep(ready.effects, inputs), ready.rewinder(), MISS
        with trying() as trial, suppress(Exception):  # the version may fail behind the steps that are known
            if not ready.differs_in_gradients(inputs, original, variant.report.stop):
                result = ready.run(inputs, original)
        rewind()
        if result is MISS:
            trial.fail()
            return MISS
        ours = (copy_result(result), kept.swap())
        with as_written():
            expected = original.run()
        found = _difference(ours, (expected, kept.now()), variant)
        recorded = variant.report.check
        # Steps that change little more may not be the program's: where the recorded run was met to the last bit, so is
        # every other.
        if found.bitwise or (within(found) and recorded is not None and not recorded.bitwise):
            trial.succeed()
            with self._cache.lock:
                group.hit(variant)
        else:
            trial.fail()
        self.show(variant)
        return expected

    def is_to_verify(self, variant: Variant) -> bool:
        """Whether the next result by a version is compared with the original's, which takes as long again."""
        calls = variant.calls + 1
        match self._verify:
            case "always":
                return True
            case int(every):
                return calls % every == 0
        return False

    def _verified(self, group: Group, variant: Variant, result: Any, expected: Any) -> bool:
        """Whether the original gives the same within rounding; otherwise it runs from now on."""
        found = _difference(result, expected, variant)
        if within(found):
            return True
        difference = f"{found.max_difference:.3g}, more than {found.tolerance:.3g}"
        self._retire(group, f"call {variant.calls} differed from the original by {difference} (verify)")
        self.latest = group.fallback
        return False

    def _note_original(self, group: Group) -> None:
        variant = group.fallback or group.variants[0]
        if group.fallback is None:
            note = f"the original ran: {group.read_at} reads values that none of {MAX_VARIANTS} recordings expect"
            variant.entry = noted(variant.entry, note)
        else:
            variant.calls += 1
        self.show(variant)

    def _retire(self, group: Group, reason: str) -> None:
        if group.retired:
            return
        for variant in group.variants:
            forget(variant.entry)
        last = group.fallback or next(iter(group.variants), None) or self.latest
        report = last.report if last is not None else Report(name_of(self._program), "left alone")
        report = replace(report, status="left alone", reason=reason, schedule="original")
        group.retire(Variant(Entry(report)))


def _ready(variant: Variant) -> Ready:
    assert variant.entry.ready is not None
    return variant.entry.ready


def _difference(result: Any, expected: Any, variant: Variant) -> Check:
    tensors = tuple(leaf for leaf in pytree.tree_leaves(expected) if isinstance(leaf, Tensor))
    return compare(result, expected, tolerance_of(tensors, variant.report.stop))


def _restless(group: Group) -> str:
    if not group.read_at:
        return f"the tensors that a proof used changed before {group.misses} calls in a row"
    why = [note for one in group.variants for note in one.report.notes if f"read at {group.read_at} " in note]
    return (
        f"{group.read_at}: the value that the program reads from a tensor here is another one at nearly every call "
        f"({group.recordings} recordings){'; ' if why else ''}{why[0] if why else ''}"
    )


def noted(entry: Entry, note: str) -> Entry:
    """The entry with one more note in its report."""
    notes = tuple(dict.fromkeys((*entry.report.notes, note)))
    return replace(entry, report=replace(entry.report, notes=notes))


def run_of(one: Solution) -> SolveReport:
    """What the report tells of one solve."""
    return SolveReport(one.name, one.method, one.sweeps, one.length, one.status, one.change, one.prefix, one.redrawn)
