"""Places where Python keeps what outlives a call: attributes of modules and of other objects, cells, globals."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

MISSING = object()  # what a place without its attribute holds
MAX_ITEMS = 64  # a longer container is not looked into, except for modules
MAX_DEPTH = 3  # of containers and objects in one another
# What nn.Module keeps about itself, apart from the train flag.
MACHINERY = frozenset(vars(nn.Module())) - {"training"}
PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size, Enum)
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
    return isinstance(value, list | tuple | dict | set | frozenset | deque)


def is_open(value: Any, depth: int, length: int | None = None) -> bool:
    """Whether what a container holds, at this depth in others, is told apart item by item; its own length if None."""
    is_indexed = is_container(value) and not isinstance(value, set | frozenset)
    return is_indexed and depth < MAX_DEPTH and (len(value) if length is None else length) <= MAX_ITEMS


def is_data(value: Any) -> bool:
    """Whether `value` is a plain one, a tensor, or a container."""
    return is_container(value) or isinstance(value, (*PLAIN, Tensor))


def has_attributes(value: Any) -> bool:
    """Whether `value` is an instance, and no function, class or module, that holds attributes of its own."""
    return isinstance(getattr(value, "__dict__", None), dict) and not isinstance(value, _NO_STATE)


def tensors_in(value: Any, depth: int = 0) -> Iterator[Tensor]:
    """The tensors in a value, also in nested containers."""
    if isinstance(value, Tensor):
        yield value
    elif is_container(value) and depth <= MAX_DEPTH:
        for item in tuple(value.values() if isinstance(value, dict) else value):
            yield from tensors_in(item, depth + 1)


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


def containers_in(value: Any, depth: int = 0) -> Iterator[Container]:
    """The containers in a value that can be changed in place, the value itself included, the inner ones first."""
    if not is_container(value) or depth > MAX_DEPTH:
        return
    for item in tuple(value.values() if isinstance(value, dict) else value) if len(value) <= MAX_ITEMS else ():
        yield from containers_in(item, depth + 1)
    if not isinstance(value, tuple | frozenset):
        yield container_of(value)
