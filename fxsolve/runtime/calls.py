"""What happens at each call: reuse a compiled version, record another one, or run the program as it was written."""

import threading
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from torch import Tensor

from fxsolve.capture.capture import name_of
from fxsolve.capture.program import Program
from fxsolve.capture.state.mutations import as_before, copy_result, is_apart, is_laid_out, is_read_live, keep
from fxsolve.errors import CaptureError, FxSolveError, GuardError
from fxsolve.report.data import SolveReport
from fxsolve.report.difference import compare, within
from fxsolve.report.report import Report
from fxsolve.runtime.agreement import tolerance_of
from fxsolve.runtime.cache import MAX_MISSES, MAX_RECORDINGS, MAX_VARIANTS, Cache, EntryInfo, Families, Group, Variant
from fxsolve.runtime.compilation import Entry, Options
from fxsolve.runtime.entry import build
from fxsolve.runtime.faults import internal_error, stray_error
from fxsolve.runtime.gradients import Original
from fxsolve.runtime.guard_keys import UNSEEN, CallKey, Reader, changed_part, describe_call, is_observed
from fxsolve.runtime.modes import as_written
from fxsolve.runtime.rehearsal import Rehearsal
from fxsolve.runtime.relatives import Relatives
from fxsolve.runtime.tokens import HashedState
from fxsolve.solvers.requests import deliver
from fxsolve.solvers.solution import Solution, observe
from fxsolve.solvers.trips import TripsError, trying
from fxsolve.torch_compat.trees import pytree

_MISS = object()
_MAX_LOST = 4  # recordings in a row that errors of the program end
_MAX_UNDECIDED = 4  # recordings of one signature that show no loop, where values are read
_MAX_REFUSED = 2  # recordings in a row that cannot be made, each of a call that changes the program
_PATIENCE = 8  # calls that are left alone until one more in a row is not looked at; at most 4 times as many are not


class Runtime:
    """The program, its compiled versions, and what the latest call did."""

    def __init__(self, program: Callable[..., Any], options: Options) -> None:
        self.program = program
        self.options = options
        self.latest: Variant | None = None
        self._runs: tuple[SolveReport, ...] = ()
        self._cache = Cache(options.max_entries)
        self._families = Families()
        shapes = options.dynamic_shapes
        self._rehearsal = Rehearsal(program, shapes) if shapes is not None else None
        self._reader = Reader(program)
        self._building = threading.RLock()
        self._newest_key: HashedState | None = None
        self._unused = 0
        self._resting = 0
        self._communicates = ""  # why the newest recording ended, if it came to that
        self._refused: tuple[str, ...] = ()  # why the newest calls, which changed the program, were not recorded
        self._lost = 0  # recordings in a row that an error of the program ended
        self._went_well = 0  # calls since then
        self._undecided: dict[Hashable, int] = {}  # recordings of signatures that showed no loop
        # A program that changes what is watched, and is left alone, will most likely do so at every call.
        self._restless_step = max(1, options.max_entries // 4)

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """One call of the program."""
        if is_observed():
            return self.program(*args, **kwargs)
        if self._resting > 0:
            self._resting -= 1
            return self.program(*args, **kwargs)
        call = self._read(args, kwargs)
        if isinstance(call, str):
            if self._reader.sees_communication():
                # Looking at what such a program changes, the state of sharded parameters for one, takes time.
                self._resting = 4 * _PATIENCE
            return self._leave_alone(call, "", args, kwargs)
        group = self._cache.find(call.key)
        known = group.recordings if group is not None else 0
        result = self._reuse(group, call, args, kwargs)
        if result is not _MISS:
            return result
        with self._building:
            # While this thread waited, another one may have recorded what it needs.
            group = self._cache.find(call.key)
            if group is not None and group.recordings != known:
                result = self._reuse(group, call, args, kwargs)
            return self._record(call, args, kwargs) if result is _MISS else result

    def report(self) -> Report:
        """What was found, chosen and measured for the latest call."""
        if self.latest is None:
            return Report(name_of(self.program), "left alone", UNSEEN)
        ready = self.latest.entry.ready if self._runs else None
        late = ready.backward_solutions if ready is not None else ()
        return replace(self.latest.report, runs=(*self._runs, *map(_run_of, late)))

    def entries(self) -> tuple[EntryInfo, ...]:
        """Every compiled version that is kept, the least recently used first."""
        return tuple(variant.info() for variant in self._cache.variants())

    def _read(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> CallKey | str:
        """The call taken apart, or why it cannot be compiled."""
        try:
            return self._reader.read(args, kwargs)
        except CaptureError as error:
            return str(error)
        except Exception as error:
            return internal_error("signature", error)

    def _reuse(self, group: Group | None, call: CallKey, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result by a version whose guards hold, or by the original where that is settled; `_MISS` if neither."""
        if group is None:
            return _MISS
        if not self._refused:  # other calls change the program all the same
            self._unused = 0
        for variant in () if group.retired else group.variants:
            result = self._attempt(group, variant, call, args, kwargs)
            if result is not _MISS:
                return result
        is_restless = group.misses + 1 >= MAX_MISSES or group.recordings >= MAX_RECORDINGS
        if group.fallback is None and len(group.variants) < MAX_VARIANTS and not is_restless:
            return _MISS
        result = self.program(*args, **kwargs)  # first: where it raises, nothing is settled
        if not group.retired:
            group.misses += 1
        if is_restless:
            self._retire(group, _restless(group))
        self._note_original(group)
        return result

    def _attempt(
        self, group: Group, variant: Variant, call: CallKey, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """The result by one version, or `_MISS`; the random generators are where they were, then."""
        ready = variant.entry.ready
        assert ready is not None
        if ready.fault:
            self._retire(group, ready.fault)
            return _MISS
        if ready.is_stale():
            with self._cache.lock:
                group.drop(variant)
            return _MISS
        inputs = ready.inputs(call.tensors)
        if not (is_laid_out(ready.effects) and is_apart(ready.effects, inputs)):
            return _MISS
        kept = keep(ready.effects, inputs) if self._is_to_verify(variant.calls + 1) else None
        rewind, failed, result = ready.rewinder(), None, None
        with observe() as solutions:
            try:
                result = ready.run(inputs, Original(self.program, args, kwargs))
            except Exception as error:
                failed = error.with_traceback(None)  # which leads to this frame, and so to itself
        if failed is not None:
            rewind()
            if isinstance(failed, TripsError) and failed.may_be:
                result = self._try_steps(group, variant, inputs, args, kwargs)
                return result if result is not _MISS else self._answer_instead(group, variant, failed, args, kwargs)
            return self._answer_instead(group, variant, failed, args, kwargs)
        self.latest, self._runs = variant, tuple(map(_run_of, solutions))
        with self._cache.lock:
            group.hit(variant)
        if kept is None:
            return result
        rewind()
        ours = (copy_result(result), kept.swap())
        try:
            with as_written():
                expected = self.program(*args, **kwargs)
        except Exception as error:
            self._retire(group, f"call {variant.calls} raised {type(error).__name__} in the original alone (verify)")
            raise
        is_right = self._verified(group, variant, ours, (expected, kept.now()))
        # What the program keeps may be, or share memory with, what it returns: then both must come from one run.
        return result if is_right and not ready.effects.stores.leaves_tensors else expected

    def _answer_instead(
        self, group: Group, variant: Variant, failed: Exception, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """The result of the original where a version raised, or `_MISS` where that may be due to its guards.

        What the original raises too is the program's own error. Otherwise, the original runs from now on.
        """
        assert variant.entry.ready is not None and variant.entry.decision is not None
        # With a wrong value in place of one that was read, a module may fail before it reaches its guards.
        guards = variant.entry.ready.guards
        known = failed if isinstance(failed, GuardError) else None
        if guards or known is not None:
            group.read_at = (known and known.source) or guards[known.number if known else 0].source
            return _MISS
        result = self.program(*args, **kwargs)
        self._retire(group, stray_error(failed, variant.entry.decision.schedule))
        self._note_original(group)
        return result

    def _try_steps(
        self, group: Group, variant: Variant, inputs: tuple[Tensor, ...], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """The result of a loop that takes a number of steps that no call has shown, next to the original's.

        `_MISS` where the version cannot be run that long, and has done nothing then.
        """
        ready = variant.entry.ready
        assert ready is not None
        kept, rewind, result = keep(ready.effects, inputs), ready.rewinder(), _MISS
        original = Original(self.program, args, kwargs)
        with trying() as trial, suppress(Exception):  # the version may fail behind the steps that are known
            if not ready.differs_in_gradients(inputs, original, variant.report.stop):
                result = ready.run(inputs, original)
        rewind()
        if result is _MISS:
            trial.fail()
            return _MISS
        ours = (copy_result(result), kept.swap())
        with as_written():
            expected = self.program(*args, **kwargs)
        theirs = (expected, kept.now())
        tensors = tuple(leaf for leaf in pytree.tree_leaves(theirs) if isinstance(leaf, Tensor))
        found = compare(ours, theirs, tolerance_of(tensors, variant.report.stop))
        recorded = variant.report.check
        # Steps that change little more may not be the program's: where the recorded run was met to the last bit, so is
        # every other.
        if found.bitwise or (within(found) and recorded is not None and not recorded.bitwise):
            trial.succeed()
            with self._cache.lock:
                group.hit(variant)
        else:
            trial.fail()
        self.latest, self._runs = variant, ()
        return expected

    def _is_to_verify(self, calls: int) -> bool:
        match self.options.verify:
            case "always":
                return True
            case int(every):
                return calls % every == 0
        return False

    def _verified(self, group: Group, variant: Variant, result: Any, expected: Any) -> bool:
        """Whether the original gives the same within rounding; otherwise it runs from now on."""
        tensors = tuple(leaf for leaf in pytree.tree_leaves(expected) if isinstance(leaf, Tensor))
        found = compare(result, expected, tolerance_of(tensors, variant.report.stop))
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
            variant.entry = _noted(variant.entry, note)
        else:
            variant.calls += 1
        self.latest, self._runs = variant, ()

    def _retire(self, group: Group, reason: str) -> None:
        if group.retired:
            return
        last = group.fallback or next(iter(group.variants), None) or self.latest
        report = last.report if last is not None else Report(name_of(self.program), "left alone")
        report = replace(report, status="left alone", reason=reason, schedule="original")
        group.retire(Variant(Entry(report)))

    def _rest(self, group: Group | None, call: CallKey, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of the original where recordings keep failing or are never used again; otherwise `_MISS`."""
        if group is None and self._unused >= self.options.max_entries and call.key != self._newest_key:
            part = changed_part(self._newest_key or call.key, call.key)
            most = self.options.max_entries
            unseen = f"{self._unused} signatures in a row were not seen again, and max_entries={most} are kept"
            changes = f"{part} differs at every call: {self._refused[-1] if self._refused else unseen}"
            reason = self._communicates or changes
            self._newest_key = call.key
            # Looking at what it changed takes time: the longer this goes on, the more calls are not looked at.
            self._unused += 1
            self._resting = min((self._unused - self.options.max_entries) // _PATIENCE, 4 * _PATIENCE)
            return self._leave_alone(reason, describe_call(call), args, kwargs)
        if self._lost >= _MAX_LOST and self._went_well <= self._lost - _MAX_LOST:
            reason = (
                f"{self._lost} recordings in a row ended in an error of the program; "
                "it is recorded again when it has run without one"
            )
            result = self._leave_alone(reason, describe_call(call), args, kwargs)
            self._went_well += 1
            return result
        return _MISS

    def _record(self, call: CallKey, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        group = self._cache.find(call.key)
        left = self._rest(group, call, args, kwargs)
        if left is not _MISS:
            return left
        relatives = Relatives(self._families.find(call), self._rehearsal) if group is None else Relatives()
        filed = call

        def learn(program: Program) -> None:
            nonlocal filed
            filed = self._learn(program, call, args, kwargs)

        try:
            # A number that was read, and is another one now, may be one that a loop stops on.
            follows = group is not None or call.key in self._undecided
            variants = group.variants if group is not None else ()
            earlier = tuple(one.entry.folded for one in variants if one.entry.folded is not None)
            given = (self.program, args, kwargs, self.options, relatives, call.state.live, learn)
            entry, result = build(*given, follows, earlier)
        except FxSolveError:  # an option does not fit the program
            raise
        except Exception:
            self._lost, self._went_well = self._lost + 1, 0
            raise
        self._lost = 0
        if entry.refusal is not None and self._is_for_now(entry, call, args, kwargs):
            self.latest, self._runs = Variant(entry), ()
            return result
        if entry.refusal is None:
            self._refused = ()
        if entry.is_undecided and self._is_shown_later(call, is_known=bool(earlier)):
            self.latest, self._runs = Variant(entry), ()
            return result
        self._families.add(filed, (*relatives.rehearsed, *([entry.member] if entry.member else [])))
        entry = replace(entry, report=replace(entry.report, signature=describe_call(call)))
        self._communicates = entry.report.reason if entry.has_communicated else ""
        deliver(entry.report.certificates)
        if group is not None:
            cause = f"{group.read_at} read another value" if group.read_at else "a tensor that a proof used changed"
            entry = _noted(entry, f"recorded again: {cause}")
            group.misses += 1
        elif self._newest_key is not None:
            self._unused += 1 if self._reader.is_unchanged(filed) else self._restless_step
        self._newest_key = filed.key
        self.latest, self._runs = Variant(entry), ()
        self._cache.add(filed.key, self.latest)
        return result

    def _learn(self, program: Program, call: CallKey, args: tuple[Any, ...], kwargs: dict[str, Any]) -> CallKey:
        """The call as it reads from now on, where its recording showed places that the program rebinds."""
        if not self._reader.learn(program.stores):
            return call
        with as_before(program):
            again = self._reader.read(args, kwargs, program.stores)
        return again if is_read_live(program, again.state.tensors) else call

    def _is_for_now(self, entry: Entry, call: CallKey, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether a program that could not be recorded is to be recorded at a later call, as the call changed it.

        What cannot be recorded may be what a program does once, such as setting itself up from its first inputs.
        """
        assert entry.refusal is not None
        now, reason = self._read(args, kwargs), entry.report.reason
        is_same = isinstance(now, CallKey) and now.key == call.key
        if is_same and not entry.refusal.wrote:
            return False
        if reason not in self._refused and len(self._refused) < _MAX_REFUSED:
            self._refused += (reason,)
            return True
        if not is_same:  # so it will be at the next call
            self._refused, self._unused = (reason,), self.options.max_entries
        return not is_same

    def _is_shown_later(self, call: CallKey, is_known: bool) -> bool:
        """Whether a program that reads values, and in which no loop was found, is to be recorded at a later call.

        A loop that stops on a value takes one step or two for some; more so if one `is_known` from other calls.
        """
        count = self._undecided.get(call.key, 0) + 1
        while len(self._undecided) >= self.options.max_entries:
            self._undecided.pop(next(iter(self._undecided)))
        self._undecided[call.key] = count
        return count < (2 * _MAX_UNDECIDED if is_known else _MAX_UNDECIDED)

    def _leave_alone(self, reason: str, signature: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the original for a call that is not worth a version of its own."""
        report = Report(name_of(self.program), "left alone", reason, signature)
        self.latest, self._runs = Variant(Entry(report)), ()
        return self.program(*args, **kwargs)


def _restless(group: Group) -> str:
    if not group.read_at:
        return f"the tensors that a proof used changed before {group.misses} calls in a row"
    why = [note for one in group.variants for note in one.report.notes if f"read at {group.read_at} " in note]
    return (
        f"{group.read_at}: the value that the program reads from a tensor here is another one at nearly every call "
        f"({group.recordings} recordings){'; ' if why else ''}{why[0] if why else ''}"
    )


def _noted(entry: Entry, note: str) -> Entry:
    notes = tuple(dict.fromkeys((*entry.report.notes, note)))
    return replace(entry, report=replace(entry.report, notes=notes))


def _run_of(one: Solution) -> SolveReport:
    return SolveReport(one.name, one.method, one.sweeps, one.length, one.status, one.change, one.prefix)
