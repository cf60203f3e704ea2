"""Numbers that a program only adds to: what it adds is known, and what they are is read nowhere."""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from fxsolve.capture.communication import Line
from fxsolve.capture.effects.increments import Increment, find_increment
from fxsolve.capture.source import user_line
from fxsolve.errors import SideEffectError
from fxsolve.state.places import MISSING, Place, is_plain
from fxsolve.state.stores import Added, Constant, Store

_UNSEEN = "is set through the __dict__ of its object, or by another thread"


class CountsError(SideEffectError):
    """Numbers became other ones, and nobody looked whether the program reads them; `left` are the new ones."""

    def __init__(self, places: Iterable[Place]) -> None:
        self.left = tuple((place, place.read()) for place in places)
        label = self.left[0][0].label
        super().__init__(f"the program changes {label}, which outlives the call; return it instead.")

    def check(self) -> None:
        """Raises SideEffectError if the places do not hold the same after another run that began with the same."""
        for place, number in self.left:
            again = place.read()
            if type(again) is not type(number) or (again != number and again == again):
                raise SideEffectError(
                    f"the program changes {place.label} in another way when it runs again; return it instead."
                )


@dataclass
class Counter:
    """A number in a place, and what the program did to it.

    `added` is a chain (what came before, number) of what was added to the number from before the run; None once the
    place holds something that does not come from that number. `obstacle` is why a run from another number may differ.
    """

    place: Place
    now: Any
    added: tuple[Any, ...] | None = ()
    obstacle: str = ""

    def numbers(self) -> tuple[int | float, ...]:
        """What was added, in order; only the sum where the order cannot matter."""
        found: list[int | float] = []
        chain = self.added
        while chain:
            chain, number = chain
            found.append(number)
        is_exact = all(type(number) is int for number in (self.now, *found))
        return (sum(found),) if is_exact else tuple(reversed(found))

    def recipe(self) -> Added | Constant:
        """How to do the same; SideEffectError if the place holds no plain value."""
        if self.added is not None:
            return Added(self.numbers())
        if self.now is not MISSING and not is_plain(self.now):
            raise SideEffectError(f"the program sets {self.place.label} to something else; return it instead.")
        return Constant(self.now)

    def refuse(self, obstacle: str) -> None:
        """Note an obstacle, unless there is one."""
        self.obstacle = self.obstacle or obstacle

    def check(self) -> None:
        """Raises SideEffectError if there is an obstacle."""
        if self.obstacle:
            raise SideEffectError(
                f"{self.place.label} {self.obstacle}; a number that changes at each call can be kept where the program "
                "adds to it, and does not read it."
            )


@dataclass(frozen=True)
class _Open:
    """A number that was loaded to add to it, and is not stored yet."""

    counter: Counter
    added: tuple[Any, ...]
    before: Any
    increment: Increment
    frame: FrameType  # kept, so that nothing else gets its id

    def number(self, total: Any) -> int | float | None:
        """What was added; None where that cannot be told."""
        if self.increment.number is not None:
            return self.increment.number
        return total - self.before if type(total) is type(self.before) is int else None


@dataclass(frozen=True)
class Counters:
    """The counters of a recording, by place; `known` are, by id, the objects that were there before it.

    Once the `line` to other processes was used, the run is not ended.
    """

    at: Mapping[tuple[int, str], Counter] = field(default_factory=dict)
    known: Mapping[int, Any] = field(default_factory=dict)
    line: Line = field(default_factory=Line)
    _thread: int = field(default_factory=threading.get_ident)
    _open: dict[tuple[int, int], _Open] = field(default_factory=dict)

    def changed(self) -> dict[tuple[int, str], Counter]:
        """Those that were added to, or replaced, also by what was there before."""
        return {identity: counter for identity, counter in self.at.items() if counter.added != ()}

    def check(self) -> None:
        """Raises SideEffectError if the run may have depended on one of the numbers."""
        for one in self._open.values():
            one.counter.refuse("is added to, but not stored again")
        for counter in self.at.values():
            if counter.place.read() is not counter.now:
                counter.refuse(_UNSEEN)
            counter.check()

    def stores(self) -> tuple[Store, ...]:
        """What the run did to the places; SideEffectError if it left anything but plain values there."""
        return tuple(Store(counter.place, counter.recipe()) for counter in self.changed().values())

    def see_read(self, owner: Any, name: str, value: Any, frame: FrameType) -> None:
        """Code in this frame reads an attribute of `owner`. SideEffectError ends a run that cannot be kept."""
        counter = self._find(owner, name)
        if counter is None or counter.added is None or self.line.used:
            return
        increment = find_increment(frame.f_code, frame.f_lasti, name)
        if value is not counter.now:
            counter.refuse(_UNSEEN)
        elif increment is None:
            counter.refuse(f"is read at {user_line()}")
        else:
            opened = _Open(counter, counter.added, value, increment, frame)
            previous = self._open.setdefault((id(frame), increment.stored), opened)
            if previous is not opened:
                previous.counter.refuse(f"is read at {user_line()}")
        counter.check()

    def see_absence(self, owner: Any, name: str) -> None:
        """A number that is not there decides nothing."""

    def see_write(self, owner: Any, name: str, value: Any, frame: FrameType) -> None:
        """Code in this frame has set an attribute of `owner`."""
        counter = self._find(owner, name)
        opened = self._open.pop((id(frame), frame.f_lasti), None)
        number = opened.number(value) if opened is not None and opened.counter is counter else None
        if opened is not None and number is None:
            opened.counter.refuse(f"is read at {user_line()}")
        if counter is not None:
            counter.now = value
            counter.added = None if opened is None else (opened.added, number)

    def _find(self, owner: Any, name: str) -> Counter | None:
        """The counter that the program accesses. What is done on copies, or by other threads, is an obstacle."""
        counter = self.at.get((id(vars(owner)), name))
        if threading.get_ident() != self._thread:
            if counter is not None:
                counter.refuse("is used by another thread")
            return None
        if counter is None and id(owner) not in self.known:
            for one in (one for one in self.at.values() if one.place.key == name):
                one.refuse(f"may be read, in a copy of its object, at {user_line()}")
        return counter
