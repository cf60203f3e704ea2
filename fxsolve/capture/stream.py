"""The stream of a run: its ATen calls in order, with their Python numbers and without their tensors."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Number = int | float | complex
Entry = tuple[Hashable, ...]

aten = torch.ops.aten

_TENSOR = "tensor"
_TENSORS = "tensors"


@dataclass(frozen=True)
class Stream:
    """The calls of a run; `literals` names the constants that it made of Python numbers, in order."""

    entries: tuple[Entry, ...] = ()
    literals: tuple[str, ...] = ()


NO_STREAM = Stream()


class Listener:
    """Collects the entries of a stream, equal ones as one object, and the names of its literals."""

    def __init__(self) -> None:
        self.literals: list[str] = []
        self._entries: list[Entry] = []
        self._known: dict[int, dict[Entry, Entry]] = {}  # by operator, whose hash would be made in Python
        self._depth = 0

    def stream(self) -> Stream:
        """The calls so far."""
        return Stream(tuple(self._entries), tuple(self.literals))

    def enter(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A call begins: it is noted, unless it is a part of another one."""
        self._depth += 1
        if self._depth == 1:
            self.hear(function, args, kwargs)

    def leave(self) -> None:
        """A call ends."""
        self._depth -= 1

    def hear(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note a call."""
        if function is aten.detach.default:
            return  # torch makes one for the result of a factory if that is held elsewhere too
        if function is aten.lift_fresh.default:
            given = (args[0].dtype, args[0].dim())  # its size may be another one at another length
        else:
            options = tuple([(key, _encode(kwargs[key])) for key in sorted(kwargs)]) if kwargs else ()
            # Most arguments are tensors: each call of a function here is a call more for each of theirs.
            given = (tuple([_TENSOR if isinstance(arg, Tensor) else _encode(arg) for arg in args]), options)
        known = self._known.get(id(function))
        if known is None:
            known = self._known[id(function)] = {}
        entry = known.get(given)
        if entry is None:
            entry = known[given] = (function, *given)
        self._entries.append(entry)


class _Wrapped:
    """Marks numbers that would be equal to an integer: 1.0 and True are not 1."""


def _encode(value: Any) -> Hashable:
    if isinstance(value, Tensor):
        return _TENSOR
    kind = type(value)
    if kind is int or value is None:
        return value
    if kind is float:
        return _Wrapped, kind, value.hex()  # tells -0.0 from 0.0 and equates NaNs
    if kind is complex:
        return _Wrapped, kind, repr(value)
    if isinstance(value, (list, tuple)):
        items = tuple([_encode(item) for item in value])
        # How many tensors are joined may depend on the length.
        return _TENSORS if items and set(items) == {_TENSOR} else items
    return kind if isinstance(value, torch.Generator) else (kind, repr(value))


def split_entry(entry: Entry) -> tuple[Hashable, tuple[Number, ...]]:
    """An entry as a label, equal for calls that differ in numbers only, and these numbers."""
    numbers: list[Number] = []
    return _without_numbers(entry, numbers), tuple(numbers)


def _without_numbers(part: Any, numbers: list[Number]) -> Hashable:
    if type(part) is int:
        numbers.append(part)
        return int
    if not isinstance(part, tuple):
        return part
    if part and part[0] is _Wrapped:
        numbers.append(float.fromhex(part[2]) if part[1] is float else complex(part[2]))
        return part[1]
    return tuple([_without_numbers(item, numbers) for item in part])
