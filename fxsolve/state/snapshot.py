"""What all places and containers held that a program reaches: what has changed since, and how it is put back."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from fxsolve.state.held import Held, Slot
from fxsolve.state.places import (
    MISSING,
    Contents,
    Place,
    container_of,
    containers_in,
    is_container,
    is_data,
    tensors_in,
)
from fxsolve.state.reach import Reach, walk
from fxsolve.torch_compat.modules import BUFFERS


class Owner(NamedTuple):
    """The attributes of a module or of another object."""

    label: str
    attributes: dict[str, Any]
    is_module: bool


@dataclass(frozen=True)
class Snapshot:
    """What every reached place and container held; new attributes are looked for in those of the `owners`."""

    held: Held
    owners: tuple[Owner, ...]

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The places, and what they held."""
        return self.held.values

    def tensors(self) -> Iterator[Tensor]:
        """The tensors that they held, also in containers."""
        return (tensor for slot in self.slots for tensor in tensors_in(slot.held))

    def contents(self) -> Contents:
        """The items that the containers held, by the ids of these."""
        return {id(one.container): one.items for one in self.held.contents}

    def changed(self) -> tuple[Slot, ...]:
        """The places that hold something else now, with what they held; those of new attributes held nothing.

        Of objects that are no modules only numbers, strings, tensors and containers count: they may have caches.
        """
        contents = self.contents()
        known = {slot.place.identity for slot in self.slots}
        places = [Place(f"{own.label}.{key}", own.attributes, key) for own in self.owners for key in own.attributes]
        new = (Slot(place, MISSING) for place in places if place.identity not in known)
        changed = (*(slot for slot in self.slots if not _same(slot.place.read(), slot.held, contents)), *new)
        lenient = {id(own.attributes) for own in self.owners if not own.is_module}
        return tuple(
            slot
            for slot in {slot.place.identity: slot for slot in changed}.values()
            if id(slot.place.owner) not in lenient or is_data(slot.place.read()) or is_data(slot.held)
        )

    def restore(self) -> None:
        """Put back what the places held."""
        self.held.put_back()


def take_snapshot(reach: Reach) -> Snapshot:
    """What the attributes of all reached modules and objects, and the places outside of them, hold now."""
    found = walk(reach)
    slots = [Slot(place, place.read()) for place in reach.places]
    owners: list[Owner] = []
    for name, module in found.modules:
        label = f"{type(module).__name__} {name}".strip()
        owners += [Owner(label, vars(module), True), Owner(label, vars(module).get(BUFFERS, {}), True)]
        parameters = module.named_parameters(recurse=False)  # torch warns where others are asked for their gradients
        slots += [_slot(f"{label}.{key}.grad", p, "grad") for key, p in parameters if p.is_leaf or p.retains_grad]
    owners += [Owner(f"{type(one).__name__} {name}".strip(), vars(one), False) for name, one in found.objects]
    slots += [_slot(f"{own.label}.{key}", own.attributes, key) for own in owners for key in own.attributes]
    containers = [one for slot in slots for one in containers_in(slot.held)]
    containers += [container_of(own.attributes) for own in owners]
    return Snapshot(Held(tuple(slots), tuple(containers)), tuple(owners))


def _slot(label: str, owner: Any, key: str) -> Slot:
    place = Place(label, owner, key)
    return Slot(place, place.read())


def _same(now: Any, held: Any, contents: Contents) -> bool:
    """Whether `now` is what was held; `contents` are the items of containers then, by their ids."""
    pending, seen = [(now, held)], set[int]()
    while pending:
        one, other = pending.pop()
        if one is other and (id(other) in seen or not is_container(other)):
            continue
        seen.add(id(other))
        if type(one) is not type(other):
            return False
        if one is other or isinstance(one, tuple):
            before = contents.get(id(other), other)
            items = tuple(one.items() if isinstance(one, dict) else one)
            if len(items) != len(before):
                return False
            pending += zip(items, before, strict=True)
        elif not (isinstance(one, (int, float, complex, str)) and one == other):
            return False
    return True
