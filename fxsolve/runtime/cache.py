"""The compiled versions of a program, by signature: a bounded number of them, the least recently used goes first."""

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field

from fxsolve.plan.schedule import Schedule
from fxsolve.report.report import Report
from fxsolve.runtime.contest import Contest
from fxsolve.runtime.entries import Entry
from fxsolve.runtime.family import Member
from fxsolve.runtime.guard_keys import CallKey, family_of

MAX_VARIANTS = 4  # recordings of one signature whose guards expect different values
MAX_MISSES = 4  # calls in a row that no variant fits, after which a signature is left alone
MAX_MEMBERS = 4  # recordings of one family that are kept to derive others from
MAX_FAMILIES = 4  # kinds of calls that are told apart by more than the sizes of their tensors
MAX_RECORDINGS = 16  # of one signature, over its whole life


class OriginalSchedule:
    """The schedule of a program that runs as it was written."""

    def __str__(self) -> str:
        return "original"


ORIGINAL = OriginalSchedule()


@dataclass(frozen=True)
class EntryInfo:
    """One compiled version: which calls it is for, what runs for them, and how many calls it has answered."""

    signature: str
    schedule: str
    status: str
    reason: str
    calls: int


@dataclass
class Variant:
    """One recording of a signature, and how often it answered a call after the first.

    In a `contest`, the original answers every second one. Where nothing was recorded, or what was decided may be
    otherwise with other weights, the signature `lasts` for so many seconds of calls.
    """

    entry: Entry
    calls: int = 0
    contest: Contest | None = None
    lasts: float | None = None

    @property
    def is_over(self) -> bool:
        """Whether its calls have taken so long that another recording costs little beside them."""
        return self.lasts is not None and self.lasts < 0

    @property
    def schedule(self) -> Schedule | OriginalSchedule:
        return self.entry.decision.schedule if self.entry.ready and self.entry.decision else ORIGINAL

    @property
    def report(self) -> Report:
        return self.entry.report

    def info(self, unseen: int = 0) -> EntryInfo:
        """What is told of it, where it answered so many calls more that were not looked at."""
        report = self.report
        return EntryInfo(report.signature, str(self.schedule), report.status, report.reason, self.calls + unseen)


def variant_of(entry: Entry, calls: int = 0) -> Variant:
    """What answers by an entry, and how often it did before."""
    return Variant(entry, calls, _contest_of(entry), entry.holds if entry.ready is None else None)


def _contest_of(entry: Entry) -> Contest | None:
    if entry.is_close:
        return Contest()
    expected = entry.report.original_seconds
    # What a race on one call found is looked at again in calls of the user's own.
    return Contest(expected=expected) if entry.ready is not None and entry.may_decide and expected else None


@dataclass
class Group:
    """The variants of one signature, most recently used first.

    `fallback` is there where some outcome of the guards, or every one, is left to the original; once the group is
    `retired`, that is every call.
    """

    variants: tuple[Variant, ...] = ()
    fallback: Variant | None = None
    retired: bool = False
    recordings: int = 0
    misses: int = 0
    read_at: str = ""

    def add(self, variant: Variant) -> None:
        self.recordings += 1
        if variant.entry.ready is None:
            self.fallback = variant
            self.retired = not self.variants
        else:
            self.variants = (variant, *self.variants)

    @property
    def usual(self) -> Variant | None:
        """What answers most calls."""
        return next(iter(self.variants), self.fallback)

    def hit(self, variant: Variant) -> None:
        variant.calls += 1
        self.misses = 0
        if self.retired:  # by another thread, while this one ran
            return
        self.variants = (variant, *(one for one in self.variants if one is not variant))

    def replace(self, old: Variant, new: Variant) -> None:
        """What answered as `old` did is answered by `new` from now on, unless another thread has dropped it."""
        if old is self.fallback and new.entry.ready is not None:
            self.variants, self.fallback, self.retired = (*self.variants, new), None, False
        elif old is self.fallback:
            self.fallback = new
        else:
            self.variants = tuple(new if one is old else one for one in self.variants)

    def successor(self, old: Variant) -> Variant:
        """What answers in the place of `old`: calls of other threads may have shown meanwhile that it is slower."""
        usual, prospect = self.usual, old.entry.prospect
        return usual if usual is not None and prospect is not None and usual.entry.prospect is prospect else old

    def drop(self, variant: Variant) -> None:
        self.variants = tuple(one for one in self.variants if one is not variant)

    def retire(self, variant: Variant) -> None:
        """From now on the original runs, for the reason in the report of `variant`."""
        self.variants, self.fallback, self.retired = (), variant, True


@dataclass
class Cache:
    """Groups by signature, at most `size` of them, for several threads."""

    size: int
    groups: OrderedDict[Hashable, Group] = field(default_factory=OrderedDict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def find(self, key: Hashable) -> Group | None:
        with self.lock:
            group = self.groups.get(key)
            if group is not None:
                self.groups.move_to_end(key)
            return group

    def add(self, key: Hashable, variant: Variant) -> Group:
        with self.lock:
            group = self.groups.setdefault(key, Group())
            self.groups.move_to_end(key)
            group.add(variant)
            while len(self.groups) > self.size:
                self.groups.popitem(last=False)
            return group

    def forget(self, key: Hashable) -> None:
        """Record such calls anew."""
        with self.lock:
            self.groups.pop(key, None)

    def variants(self) -> Iterator[Variant]:
        """All of them, the least recently used signature first."""
        with self.lock:
            groups = tuple(self.groups.values())
        for group in groups:
            yield from reversed(group.variants)
            if group.fallback is not None:
                yield group.fallback


class Families:
    """For each family of calls the newest recordings at different sizes."""

    def __init__(self) -> None:
        self._members: OrderedDict[Hashable, tuple[Member, ...]] = OrderedDict()

    def find(self, call: CallKey) -> tuple[Member, ...]:
        """The newest one last."""
        return self._members.get(family_of(call), ())

    def add(self, call: CallKey, members: Iterable[Member]) -> None:
        """Keep these, as the newest ones."""
        key = family_of(call)
        for member in members:
            others = [one for one in self._members.pop(key, ()) if one.sizes != member.sizes]
            self._members[key] = (*others[1 - MAX_MEMBERS :], member)
        while len(self._members) > MAX_FAMILIES:
            self._members.popitem(last=False)
