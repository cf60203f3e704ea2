"""Places where Python keeps what outlives a call: attributes of modules and of other objects, cells, globals."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

Contents = Mapping[int, tuple[Any, ...]]
NOTHING: Contents = {}
MISSING = object()  # what a place without its attribute holds
MAX_OBJECTS = 64  # of more in one container none are looked into, except for modules
MAX_DEPTH = 3  # of objects in one another
MAX_NESTED = 64  # of containers in one another, where each is told apart
# What nn.Module keeps about itself, apart from the train flag.
MACHINERY = frozenset(vars(nn.Module())) - {"training"}
# What is known by its value. Subclasses may hold more: to them this does not apply where a value is told by its type.
PLAIN = frozenset({bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.memory_format})
_PLAIN = (*PLAIN, torch.Size, Enum)
_CONTAINERS = (list, tuple, dict, set, frozenset, deque)
_NO_STATE = (type, FunctionType, MethodType, BuiltinFunctionType, ModuleType, Tensor, nn.Module, Enum)


class Place(NamedTuple):
    """`owner[key]` of a dict, otherwise `owner.key`."""

    label: str
    owner: Any
    key: str

    def read(self) -> Any:
        """What is there, or `MISSING`."""
        if isinstance(self.owner, dict):
            return self.owner.get(self.key, MISSING)
        return getattr(self.owner, self.key, MISSING)

    def write(self, value: Any) -> None:
        """Put `value` there, or nothing if it is `MISSING`."""
        if not isinstance(self.owner, dict):
            setattr(self.owner, self.key, value)
        elif value is MISSING:
            self.owner.pop(self.key, None)
        else:
            self.owner[self.key] = value

    @property
    def identity(self) -> tuple[int, str]:
        """Equal for equal places as long as the owner lives."""
        return id(self.owner), self.key


def attributes_of(module: nn.Module) -> list[tuple[str, Any]]:
    """The attributes of a module besides its parameters, buffers, children and hooks."""
    return [item for item in vars(module).items() if item[0] not in MACHINERY]


def is_container(value: Any) -> bool:
    return isinstance(value, _CONTAINERS)


def is_open(value: Any, depth: int) -> bool:
    """Whether what a container holds, at this depth in others, is told apart item by item."""
    return is_container(value) and not isinstance(value, set | frozenset) and depth < MAX_NESTED


def items_of(container: Any) -> tuple[Any, ...]:
    """What a container holds, of a dict the values."""
    return tuple(container.values() if isinstance(container, dict) else container)


def is_plain(value: Any) -> bool:
    """Whether `value` is one of the types that never change, or of a class made of one of them."""
    return isinstance(value, _PLAIN)


def is_data(value: Any) -> bool:
    """Whether `value` is a plain one, a tensor, or a container."""
    return is_container(value) or isinstance(value, (*_PLAIN, Tensor))


def has_attributes(value: Any) -> bool:
    """Whether `value` is an instance, and no function, class or module, that holds attributes of its own."""
    return isinstance(getattr(value, "__dict__", None), dict) and not isinstance(value, _NO_STATE)


def everything_in(value: Any) -> Iterator[Any]:
    """The value and, if it is a container, all that it and the containers in it hold; each of these once."""
    pending, seen = [value], set[int]()
    while pending:
        one = pending.pop()
        if not is_container(one):
            yield one
        elif id(one) not in seen:
            seen.add(id(one))
            yield one
            pending += items_of(one)


def paths_in(value: Any, contents: Contents = NOTHING) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Everything in a value, containers included, by the indices that lead to it first.

    `contents` are the items that containers held before, of a dict the pairs, by the ids of the containers.
    """
    pending: list[tuple[tuple[Any, ...], Any]] = [((), value)]
    seen: set[int] = set()
    while pending:
        path, one = pending.pop()
        yield path, one
        if not is_open(one, len(path)) or id(one) in seen:
            continue
        seen.add(id(one))
        items = contents.get(id(one))
        if items is None:
            items = tuple(one.items() if isinstance(one, dict) else one)
        pending += [((*path, index), item) for index, item in (items if isinstance(one, dict) else enumerate(items))]


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in a value, also in nested containers."""
    return (one for one in everything_in(value) if isinstance(one, Tensor))


@dataclass(frozen=True)
class Container:
    """One list, dict, set or deque, and the items that it held, of a dict the pairs."""

    container: Any
    items: tuple[Any, ...]

    def write(self) -> None:
        refill(self.container, self.items)


def refill(container: Any, items: Iterable[Any]) -> None:
    """Put these items, of a dict the pairs, in the place of those in a container."""
    container.clear()
    fill = container.extend if hasattr(container, "extend") else container.update
    fill(items)


def container_of(value: Any) -> Container:
    return Container(value, tuple(value.items() if isinstance(value, dict) else value))


def containers_in(value: Any) -> Iterator[Container]:
    """The containers in a value that can be changed in place, the value itself included."""
    return (container_of(one) for one in everything_in(value) if is_filled_in_place(one))


def is_filled_in_place(value: Any) -> bool:
    """Whether `value` is a container whose items may become other ones."""
    return is_container(value) and not isinstance(value, tuple | frozenset)
