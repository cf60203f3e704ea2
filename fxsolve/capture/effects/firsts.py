"""What a run does first with an attribute: it sets it, or it may look at what was there before."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from fxsolve.state.places import MISSING, Place


@dataclass(frozen=True)
class Firsts:
    """Sees which of the watched places are read before they are set.

    `known` are, by id, the objects that were there before the run: others may be copies of them.
    """

    places: Mapping[tuple[int, str], Place]
    known: Mapping[int, Any]
    _read: set[tuple[int, str]] = field(default_factory=set)
    _set: set[tuple[int, str]] = field(default_factory=set)
    _thread: int = field(default_factory=threading.get_ident)

    def unread(self) -> tuple[Place, ...]:
        """The places of which nobody looked at what was there before the run, nor whether anything was."""
        return tuple(place for identity, place in self.places.items() if identity not in self._read)

    def is_set(self, place: Place) -> bool:
        """Whether the run has set it."""
        return place.identity in self._set

    def see_read(self, owner: Any, name: str, value: Any, frame: FrameType) -> None:
        """Code in this frame reads an attribute of `owner`."""
        self.see_absence(owner, name)

    def see_absence(self, owner: Any, name: str) -> None:
        """Code asks for an attribute that `owner` does not have."""
        identity = (id(vars(owner)), name)
        if self._is_elsewhere(owner):
            self._read.update(one for one in self.places if one[1] == name and one not in self._set)
        elif identity not in self._set:
            self._read.add(identity)

    def see_write(self, owner: Any, name: str, value: Any, frame: FrameType) -> None:
        """Code in this frame has set an attribute of `owner`; whether it can be deleted tells that it was there."""
        if value is MISSING:
            self.see_absence(owner, name)
        elif not self._is_elsewhere(owner):
            self._set.add((id(vars(owner)), name))

    def _is_elsewhere(self, owner: Any) -> bool:
        return id(owner) not in self.known or threading.get_ident() != self._thread
