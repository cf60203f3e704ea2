"""Builtins that make or take numbers, followed in the functions of a program: no mode of torch sees their calls.

The names `float` and `int` are put into the globals of these functions, and some functions of `math` are replaced: both
for the whole process, as `capture.together` says. To threads that follow no numbers they do what they always do.
"""

import builtins
import functools
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from fxsolve.capture.numbers.values import REALS, Float, Int, NumberFollower, is_read_alone
from fxsolve.capture.together import Together, Undo

Places = tuple[dict[str, Any], ...]

_watch: ContextVar[NumberFollower | None] = ContextVar("fxsolve_numbers", default=None)  # that of this thread


@contextmanager
def followed_builtins(watch: NumberFollower, places: Places) -> Iterator[None]:
    """In the body, `float` and `int` of tensors are followed in `places`, the globals of functions, in this thread."""
    token = _watch.set(watch)
    try:
        with _math_of_numbers(), _names.added(places):
            yield
    finally:
        _watch.reset(token)


class _Kind(type):
    """A builtin type that makes numbers, in functions whose numbers are followed."""

    kind: type

    def __call__(cls, *args: Any) -> Any:
        watch = _watch.get()
        if watch is None or len(args) != 1:
            return cls.kind(*args)
        (one,) = args
        if type(one) in (Float, Int) and isinstance(one, cls.kind):
            return one
        if cls.kind is float and type(one) is Int:
            return one * 1.0
        if isinstance(one, Tensor) and is_read_alone(one) and (one.dtype in REALS) == (cls.kind is float):
            return watch.read(one)
        return cls.kind(one)

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, cls.kind)

    def __subclasscheck__(cls, other: type) -> bool:
        return issubclass(other, cls.kind)

    def __or__(cls, other: Any) -> Any:
        return cls.kind | other

    def __eq__(cls, other: object) -> bool:
        return other is cls or other is cls.kind

    def __hash__(cls) -> int:
        return hash(cls.kind)

    def __getattr__(cls, name: str) -> Any:
        return getattr(cls.kind, name)


_KINDS = {kind.__name__: _Kind(kind.__name__, (), {"kind": kind}) for kind in (builtins.float, builtins.int)}


class _Names:
    """The names of `_KINDS` in globals: the first thread that needs one adds it, the last one takes it away."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[int, str], int] = {}  # by identity of the globals, which those who count keep alive

    @contextmanager
    def added(self, places: Places) -> Iterator[None]:
        """In the body the names are there, but where the program has its own."""
        with self._lock:
            added = [(place, name) for place in places for name in _KINDS if self._is_free(place, name)]
            for place, name in added:
                place[name] = _KINDS[name]
                self._counts[id(place), name] = self._counts.get((id(place), name), 0) + 1
        try:
            yield
        finally:
            with self._lock:
                for place, name in added:
                    self._leave(place, name)

    def _is_free(self, place: dict[str, Any], name: str) -> bool:
        return name not in place or place[name] is _KINDS[name]

    def _leave(self, place: dict[str, Any], name: str) -> None:
        self._counts[id(place), name] -= 1
        if self._counts[id(place), name]:
            return
        del self._counts[id(place), name]
        if place.get(name) is _KINDS[name]:  # the program has not set its own meanwhile
            del place[name]


_names = _Names()

# Of these, torch gives what Python does to the last bit.
_MATH = {"sqrt": torch.sqrt, "fabs": torch.abs, "isnan": torch.isnan, "isinf": torch.isinf, "isfinite": torch.isfinite}


def _in_torch(plain: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(plain)
    def call(number: Any) -> Any:
        if type(number) is not Float:
            return plain(number)
        value, tensor = plain(number.value), function(number.tensor)
        return bool(tensor) if type(value) is bool else number.watch.number(value, tensor)

    return call


def _follow_math(_: object) -> Undo:
    before = {name: getattr(math, name) for name in _MATH}
    made = {name: _in_torch(before[name], function) for name, function in _MATH.items()}
    for name, function in made.items():
        setattr(math, name, function)

    def undo() -> None:
        for name, function in made.items():
            if getattr(math, name) is function:
                setattr(math, name, before[name])

    return undo


_math_of_numbers = Together(_follow_math)
