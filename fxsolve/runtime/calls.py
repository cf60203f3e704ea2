"""What happens at each call: reuse a compiled version, record another one, or run the program as it was written."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fxsolve.capture.capture import name_of
from fxsolve.capture.effects.mutations import as_before, is_read_live
from fxsolve.capture.program import Program
from fxsolve.economy.clock import seconds_now
from fxsolve.errors import CaptureError, FxSolveError
from fxsolve.report.log import notice
from fxsolve.report.report import Report
from fxsolve.runtime.account import Account
from fxsolve.runtime.attempts import MISS, Attempts, noted, run_of
from fxsolve.runtime.cache import Cache, EntryInfo, Families, Group, Variant, variant_of
from fxsolve.runtime.entries import Costs, Entry, Options
from fxsolve.runtime.entry import build
from fxsolve.runtime.faults import internal_error
from fxsolve.runtime.gradients import Original
from fxsolve.runtime.guard_keys import UNSEEN, CallKey, Reader, describe_call, is_observed
from fxsolve.runtime.overview import note
from fxsolve.runtime.patience import Patience
from fxsolve.runtime.planned import planned
from fxsolve.runtime.purchase import buy
from fxsolve.runtime.rehearsal import Rehearsal
from fxsolve.runtime.relatives import Relatives
from fxsolve.runtime.remembering import forget, remember_purchase
from fxsolve.runtime.siblings import Siblings
from fxsolve.runtime.telling import Telling
from fxsolve.runtime.turns import take_turn
from fxsolve.solvers.requests import deliver

_DEAR = 0.01  # of the seconds of a call go into reading it


class Runtime:
    """The program, its compiled versions, and what the latest call did."""

    def __init__(self, program: Callable[..., Any], options: Options) -> None:
        self.program = program
        self.options = options
        self._cache = Cache(options.max_entries)
        self._attempts = Attempts(program, self._cache, options.verify)
        self.patience = Patience(options.max_entries)
        self._families = Families()
        self._siblings = Siblings()
        shapes = options.dynamic_shapes
        self._rehearsal = Rehearsal(program, shapes) if shapes is not None else None
        self._reader = Reader(program)
        self._building = threading.RLock()
        self._account = Account(options)
        note(self)
        self._telling = Telling(self.name, options.on_left_alone)

    @property
    def name(self) -> str:
        """What the program is called."""
        return name_of(self.program)

    @property
    def latest(self) -> Variant | None:
        """The version that answered the latest call."""
        return self._attempts.latest

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """One call of the program, which is not resting."""
        if is_observed():
            return self.program(*args, **kwargs)
        began = seconds_now()
        original = Original(self.program, args, kwargs)
        call = self._read(original)
        reading = seconds_now() - began
        if isinstance(call, str):
            if self._reader.sees_communication():
                self.patience.rest()
            return self._told(self._run_alone(call, "", original))
        group = self._cache.find(call.key)
        known = group.recordings if group is not None else 0
        if group is not None and self._account.is_due(group):
            self._buy(group, call, original)
            began = seconds_now()
        result = self._reuse(group, call, original, began)
        if result is not MISS:
            self._count(group, seconds_now() - began, reading)
            return result
        with self._building:
            # While this thread waited, another one may have recorded what it needs.
            before, group = group, self._cache.find(call.key)
            if group is not None and (group is not before or group.recordings != known):
                result = self._reuse(group, call, original, began)
            return self._record(call, original) if result is MISS else result

    def report(self) -> Report:
        """What was found, chosen and measured for the latest call."""
        if self.latest is None:
            return Report(name_of(self.program), "left alone", UNSEEN)
        ready = self.latest.entry.ready if self._attempts.runs is not None else None
        late = map(run_of, ready.backward_solutions if ready is not None else ())
        runs = (*(self._attempts.runs or ()), *late)
        return replace(self.latest.report, runs=runs, plan=planned(self._cache.variants()))

    def entries(self) -> tuple[EntryInfo, ...]:
        """Every compiled version that is kept, the least recently used first."""
        unseen = {id(self.latest): self.patience.unseen}
        return tuple(one.info(unseen.get(id(one), 0)) for one in self._cache.variants())

    def _read(self, original: Original) -> CallKey | str:
        """The call taken apart, or why it cannot be compiled."""
        try:
            return self._reader.read(original.args, original.kwargs)
        except CaptureError as error:
            return str(error)
        except Exception as error:
            return internal_error("signature", error)

    def _reuse(self, group: Group | None, call: CallKey, original: Original, began: float) -> Any:
        """The result by what is known of such calls; `MISS` where that is not enough."""
        if group is None or (group.usual is not None and group.usual.is_over):
            return MISS
        self.patience.found()
        result = take_turn(self._attempts, self._cache, group, call, original, began)
        return result if result is MISS else self._told(result)

    def _count(self, group: Group | None, seconds: float, reading: float) -> None:
        """A call took so long, of which it was read in `reading` seconds."""
        if group is not None and (usual := group.usual) is not None:
            self._account.ran(usual, seconds, 1 + (rested := self.patience.rested()))
            usual.calls += rested if usual.entry.ready is None else 0
            self.patience.answered(usual.entry.ready is None, reading > _DEAR * seconds)

    def _buy(self, group: Group, call: CallKey, original: Original) -> None:
        """Compile the steps of what mostly answers such calls."""
        with self._building:
            old = group.usual
            if old is None or (prospect := old.entry.prospect) is None:  # another thread was first
                return
            entry = buy(prospect, old, call, original, self.options, self._account.ledger, self._time_reading(original))
            if entry is old.entry:
                return
            with self._cache.lock:
                group.replace(group.successor(old), variant_of(entry, old.calls))
            remember_purchase(old.entry, entry)

    def _record(self, call: CallKey, original: Original) -> Any:
        """The result of the program, recorded for later calls, or left alone where recordings are of no use."""
        group = self._cache.find(call.key)
        if group is not None and group.usual is not None and group.usual.is_over:
            self._cache.forget(call.key)
            forget(group.usual.entry)  # what was left alone may be solved in fewer sweeps by now
            return self._built(call, None, original, group.usual.entry.holds)
        if group is None and (reason := self.patience.why_unseen(call)):
            return self._told(self._run_alone(reason, describe_call(call), original))
        if group is None and (reason := self._account.why_not_record()):
            return self._run_alone(reason, describe_call(call), original)
        if group is None and (reason := self._siblings.why_alone(call, (original.args, original.kwargs))):
            result = self._told(self._run_alone(reason, describe_call(call), original))  # first: it may raise
            report = Report(name_of(self.program), "left alone", reason, describe_call(call))
            self._cache.add(call.key, Variant(Entry(report), lasts=self._account.ledger.recording))
            return result
        if reason := self.patience.why_lost():
            result = self._run_alone(reason, describe_call(call), original)
            self.patience.ran()
            return result
        return self._built(call, group, original)

    def _built(self, call: CallKey, group: Group | None, original: Original, held: float | None = None) -> Any:
        relatives = Relatives(self._families.find(call), self._rehearsal) if group is None else Relatives()
        filed = call

        def learn(program: Program) -> None:
            nonlocal filed
            filed = self._learn(program, call, original)

        began = seconds_now()
        # A number that was read, and is another one now, may be one that a loop stops on.
        follows = group is not None or self.patience.is_undecided(call)
        variants = group.variants if group is not None else ()
        earlier = tuple(one.entry.folded for one in variants if one.entry.folded is not None)
        given = (self.program, original.args, original.kwargs, self.options, relatives, call.state.live, learn)
        start = time.perf_counter()
        try:
            costs = Costs(self._account.purse, self._time_reading(original))
            with notice(f"compiling {name_of(self.program)}, at its first call of this kind,"):
                entry, result = build(*given, costs, follows, earlier)
        except FxSolveError:  # an option does not fit the program
            raise
        except Exception:
            self.patience.lost()
            raise
        took = seconds_now() - began
        self._account.ledger.work(took)
        entry = replace(entry, holds=self._account.holds(entry, took, held))
        self.patience.recorded(entry)
        self._siblings.add(filed, (original.args, original.kwargs), entry)
        if self._is_for_later(entry, call, original, is_known=bool(earlier)):
            self._attempts.show(Variant(entry))
            return result
        self._families.add(filed, (*relatives.rehearsed, *([entry.member] if entry.member else [])))
        self._keep(entry, filed, group, describe_call(call))
        assert self.latest is not None
        self._telling.recorded(self.latest.entry, time.perf_counter() - start)
        return self._told(result)

    def _told(self, result: Any) -> Any:
        return self._telling.returned(result, self.latest)

    def _time_reading(self, original: Original) -> float:
        """Seconds that it takes to read a call, when much of it is known."""
        began = seconds_now()
        self._read(original)
        return seconds_now() - began

    def _is_for_later(self, entry: Entry, call: CallKey, original: Original, is_known: bool) -> bool:
        """Whether such calls are to be recorded again, as if this one had not been."""
        if entry.refusal is not None:
            return self.patience.is_for_now(entry, call, self._read(original))
        return entry.is_undecided and self.patience.is_shown_later(call, is_known)

    def _keep(self, entry: Entry, filed: CallKey, group: Group | None, signature: str) -> None:
        """Answer the calls that read as `filed` by this entry."""
        entry = replace(entry, report=replace(entry.report, signature=signature))
        deliver(entry.report.certificates)
        if group is not None:
            cause = f"{group.read_at} read another value" if group.read_at else "a tensor that a proof used changed"
            entry = noted(entry, f"recorded again: {cause}")
            group.misses += 1
        self.patience.kept(entry, filed, group is None, self._reader.is_unchanged)
        variant = variant_of(entry)
        self._attempts.show(variant)
        self._cache.add(filed.key, variant)

    def _learn(self, program: Program, call: CallKey, original: Original) -> CallKey:
        """The call as it reads from now on, where its recording showed places that the program rebinds."""
        if not self._reader.learn(program.stores):
            return call
        with as_before(program):
            again = self._reader.read(original.args, original.kwargs, program.stores)
        return again if is_read_live(program, again.state.tensors) else call

    def _run_alone(self, reason: str, signature: str, original: Original) -> Any:
        """Run the original for a call that gets no version of its own, for now at least."""
        report = Report(name_of(self.program), "left alone", reason, signature)
        self._attempts.show(Variant(Entry(report)))
        began = seconds_now()
        result = original.run()
        self._account.ledger.run(seconds_now() - began)
        return result
