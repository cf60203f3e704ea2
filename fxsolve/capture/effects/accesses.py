"""Who reads and sets an attribute, seen by a data descriptor on its class.

The value stays in the `__dict__` of its object, so a program runs as ever. A number of another type would be seen by
`type`, and of a subclass of int C code reads the value unseen. Reads of the `__dict__` itself are not seen.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol

from torch import nn

from fxsolve.state.places import MISSING

_HANDS_ON = nn.Module.__setattr__.__code__  # sets what it is given, and reads no number
_changing_classes = threading.Lock()


class Watcher(Protocol):
    """Is told what is done with the attributes that are watched."""

    def see_read(self, owner: Any, name: str, value: Any, frame: FrameType) -> None:
        """Code in this frame reads an attribute of `owner`."""

    def see_absence(self, owner: Any, name: str) -> None:
        """Code asks for an attribute that `owner` does not have."""

    def see_write(self, owner: Any, name: str, value: Any, frame: FrameType) -> None:
        """Code in this frame has set an attribute of `owner`, or deleted it where the value is `MISSING`."""


class _Access:
    """Stands in a class for the attribute of one name of its objects; `default` is what was there."""

    def __init__(self, kind: type, name: str, default: Any) -> None:
        self.kind, self.name, self.default = kind, name, default
        self.watchers: tuple[Watcher, ...] = ()

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        value = MISSING if owner is None else vars(owner).get(self.name, MISSING)
        if value is MISSING:
            for watcher in self.watchers if owner is not None else ():
                watcher.see_absence(owner, self.name)
            return self._inherited(kind if owner is None else owner)
        for watcher in self.watchers:
            watcher.see_read(owner, self.name, value, sys._getframe(1))
        return value

    def __set__(self, owner: Any, value: Any) -> None:
        vars(owner)[self.name] = value
        for watcher in self.watchers:
            watcher.see_write(owner, self.name, value, _setter(sys._getframe(1)))

    def __delete__(self, owner: Any) -> None:
        if vars(owner).pop(self.name, MISSING) is MISSING:
            for watcher in self.watchers:
                watcher.see_absence(owner, self.name)
            raise AttributeError(self.name)
        for watcher in self.watchers:
            watcher.see_write(owner, self.name, MISSING, sys._getframe(1))

    def _inherited(self, owner: Any) -> Any:
        return getattr(super(self.kind, owner), self.name) if self.default is MISSING else self.default


def _setter(frame: FrameType) -> FrameType:
    """The frame of the assignment."""
    return frame.f_back if frame.f_code is _HANDS_ON and frame.f_back is not None else frame


@contextmanager
def watching(kind: type, name: str, watcher: Watcher) -> Iterator[None]:
    """In the body the watcher sees each access; those of other recordings may do so too."""
    with _changing_classes:
        access = vars(kind).get(name, MISSING)
        if not isinstance(access, _Access):
            access = _Access(kind, name, access)
            type.__setattr__(kind, name, access)
        access.watchers = (*access.watchers, watcher)
    try:
        yield
    finally:
        with _changing_classes:
            access.watchers = tuple(one for one in access.watchers if one is not watcher)
            if not access.watchers:
                _put_back(access)


def default_of(kind: type, name: str) -> Any:
    """The class attribute that objects without one of their own have, or `MISSING`."""
    held = (vars(one).get(name, MISSING) for one in kind.__mro__)
    plain = (one.default if isinstance(one, _Access) else one for one in held)
    return next((one for one in plain if one is not MISSING), MISSING)


def _put_back(access: _Access) -> None:
    if vars(access.kind).get(access.name) is not access:
        return  # another thread has set the attribute of the class meanwhile
    if access.default is MISSING:
        type.__delattr__(access.kind, access.name)
    else:
        type.__setattr__(access.kind, access.name, access.default)
