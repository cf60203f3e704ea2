"""State that outlives a call: Python attributes, and the generators of random numbers."""

import random
import sys
from collections import deque
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fxsolve.tracer.reach import Reach


@dataclass(frozen=True)
class Slot:
    """One place and what it held: `owner[key]` of a dict, otherwise `owner.key`."""

    label: str
    owner: Any
    key: str
    held: Any

    def read(self) -> Any:
        return self.owner.get(self.key) if isinstance(self.owner, dict) else getattr(self.owner, self.key)

    def write(self) -> None:
        if isinstance(self.owner, dict):
            self.owner[self.key] = self.held
        else:
            setattr(self.owner, self.key, self.held)


@dataclass(frozen=True)
class Container:
    """One list, dict, set or deque, and the items that it held."""

    label: str
    container: Any
    items: tuple[Any, ...]

    def write(self) -> None:
        self.container.clear()
        fill = self.container.extend if isinstance(self.container, (list, deque)) else self.container.update
        fill(self.items)


@dataclass(frozen=True)
class Snapshot:
    """What every reached place and container held."""

    slots: tuple[Slot, ...]
    containers: tuple[Container, ...]

    def changes(self) -> list[str]:
        """The labels of places that hold something else now."""
        slots = [slot.label for slot in self.slots if not _same(slot.read(), slot.held)]
        return slots + [c.label for c in self.containers if not _same_items(_items(c.container), c.items)]

    def restore(self) -> None:
        """Put back what the places held."""
        for saved in (*self.containers, *self.slots):
            saved.write()


def take_snapshot(reach: Reach) -> Snapshot:
    """What the attributes of all reached modules, and the places outside of them, hold now."""
    slots = [Slot(label, owner, key, _read(owner, key)) for label, owner, key in reach.places]
    containers = []
    for root, module in reach.modules.items():
        for name, part in module.named_modules(prefix=root):
            label = f"{type(part).__name__} {name}".strip()
            containers.append(Container(f"an attribute of {label}", part.__dict__, _items(part.__dict__)))
            slots += [Slot(f"{label}.{key}", part.__dict__, key, held) for key, held in part.__dict__.items()]
            slots += [Slot(f"{label}.{key}.grad", p, "grad", p.grad) for key, p in part.named_parameters(recurse=False)]
    nested = [Container(slot.label, slot.held, _items(slot.held)) for slot in slots if _is_container(slot.held)]
    return Snapshot(tuple(slots), tuple(nested + containers))


def _read(owner: Any, key: str) -> Any:
    return owner.get(key) if isinstance(owner, dict) else getattr(owner, key)


def _is_container(value: Any) -> bool:
    return isinstance(value, (list, dict, set, deque))


def _items(container: Any) -> tuple[Any, ...]:
    return tuple(container.items()) if isinstance(container, dict) else tuple(container)


def _same_items(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool:
    return len(a) == len(b) and all(map(_same, a, b))


def _same(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    return _same_items(a, b) if isinstance(a, tuple) else isinstance(a, (int, float, complex, str)) and a == b


@dataclass(frozen=True)
class RandomState:
    """The state of every generator that torch, Python and NumPy use by default."""

    cpu: Tensor
    cuda: tuple[Tensor, ...]
    python: Any
    numpy: Any

    def restore(self) -> None:
        """Put every generator back into its state."""
        torch.set_rng_state(self.cpu)
        if self.cuda:
            torch.cuda.set_rng_state_all(list(self.cuda))
        random.setstate(self.python)
        if self.numpy is not None:
            sys.modules["numpy"].random.set_state(self.numpy)

    def is_python_unchanged(self) -> bool:
        """Whether neither Python nor NumPy drew a random number since."""
        now = read_random_state()
        return now.python == self.python and str(now.numpy) == str(self.numpy)


def read_random_state() -> RandomState:
    """The state of the default generators now."""
    numpy = sys.modules.get("numpy")
    return RandomState(
        torch.get_rng_state(),
        tuple(torch.cuda.get_rng_state_all()) if torch.cuda.is_initialized() else (),
        random.getstate(),
        numpy.random.get_state(legacy=True) if numpy is not None else None,
    )
