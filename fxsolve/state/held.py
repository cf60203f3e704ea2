"""What places hold at one moment, to be put back."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from fxsolve.state.places import MISSING, Container, Place, containers_in


class Slot(NamedTuple):
    """A place and what it held."""

    place: Place
    held: Any


def hold(places: Iterable[Place], tensors: Iterable[Tensor] = ()) -> "Held":
    """What these places hold now, and what memory these tensors are on."""
    values = tuple(Slot(place, place.read()) for place in places)
    contents = {id(one.container): one for _, value in values for one in containers_in(value)}
    return Held(values, tuple(contents.values()), tuple((tensor, tensor.detach()) for tensor in tensors))


@dataclass(frozen=True)
class Held:
    """What places held, the items of the containers among it, and tensors with others on the memory they had.

    Tensors that are `free` wanted no gradients.
    """

    values: tuple[Slot, ...] = ()
    contents: tuple[Container, ...] = ()
    memories: tuple[tuple[Tensor, Tensor], ...] = ()
    free: tuple[Tensor, ...] = ()

    def put_back(self) -> None:
        """Make all of it as it was."""
        for tensor, memory in self.memories:
            tensor.data = memory
        for container in self.contents:
            container.write()
        for place, value in self.values:
            place.write(value)
        for tensor in self.free:
            if tensor.requires_grad and tensor.is_leaf:
                tensor.requires_grad_(False)

    def now(self) -> list[Any]:
        """What the places and the tensors hold now."""
        held = [None if (value := place.read()) is MISSING else value for place, _ in self.values]
        return [*held, *(tensor.detach() for tensor, _ in self.memories)]


NOTHING_HELD = Held()
