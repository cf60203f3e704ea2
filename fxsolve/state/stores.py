"""State that a program rebinds: read from its places at each call, and set there once a run is known to be valid.

A program that sets `self.h = h` reads a value of its last call and leaves one for its next call: one more input and one
more output of the graph. What a place is set to is kept as a recipe, which makes new containers where the program does.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from fxsolve.state.places import Place
from fxsolve.torch_compat.operators import OpOverload

DETACH = torch.ops.aten.detach.default
View = tuple[tuple[int, ...], tuple[int, ...], int]  # shape, strides, and offset from the first entry of the base


class Read(NamedTuple):
    """What is at `path`, indices of containers in one another, in the value of a place."""

    place: Place
    path: tuple[Any, ...]

    def value(self) -> Any:
        found = self.place.read()
        for index in self.path:
            found = found[index]
        return found


@dataclass(frozen=True)
class Stored:
    """The tensor that is this output of the graph."""

    output: int


@dataclass(frozen=True)
class Constant:
    """A value that is the same in every run; `MISSING` where the program deletes an attribute."""

    value: Any


@dataclass(frozen=True, eq=False)
class Filled:
    """A container made of these values: the one at `into` before the run, with new items, or a new one."""

    items: tuple["Recipe", ...]
    make: Callable[[list[Any]], Any]
    into: Read | None


@dataclass(frozen=True)
class Added:
    """What is in the place before the run, and these numbers added to it one by one."""

    numbers: tuple[int | float, ...]


Recipe = Stored | Constant | Filled


class Store(NamedTuple):
    place: Place
    recipe: Recipe | Added


class Move(NamedTuple):
    """A tensor whose `data` is set to an output: an input by number, or an attribute by name; and its old strides."""

    place: int | str
    output: int
    strides: tuple[int, ...]


class Fresh(NamedTuple):
    """An output with memory of its own: its strides, unless they are odd ones, and whether it wants gradients.

    `size` is that of the memory in bytes.
    """

    output: int
    strides: tuple[int, ...] | None
    wants_grad: bool
    size: int


class Step(NamedTuple):
    """A call `function(tensor, *args, **kwargs)` that gives a view; of several views the one of number `part`."""

    function: OpOverload
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    part: int | None


Route = tuple[Step, ...]


@dataclass(frozen=True)
class Same:
    """An output that is another tensor, an input or output by number or an attribute by name, or a view of it.

    The calls of `route` lead from that tensor to the view. `wants_grad` tells whether gradients flow back along it;
    an output that is the other tensor itself is as that is.
    """

    output: int
    kind: str
    base: int | str
    route: Route
    wants_grad: bool


@dataclass(frozen=True)
class Live:
    """Places that are known to be rebound, by identity, and the tensors in them that are nowhere else.

    Of numbers in the places of `counters` the values are not known, and of places that are `made` nothing.
    """

    places: frozenset[tuple[int, str]] = frozenset()
    reads: tuple[Read, ...] = ()
    counters: frozenset[tuple[int, str]] = frozenset()
    made: tuple[Place, ...] = ()


@dataclass(frozen=True)
class Stores:
    """The places that a program rebinds, the tensors that it moves to other memory, and those that it hands on.

    `reads` are the tensors in the places that the program uses, which are its last inputs. Of the first `outputs`
    outputs, those returned or stored, `shared` tells which are other tensors or views of them, and `fresh` which have
    memory of their own. In the places of `counters` were numbers that the program did not read as they were before the
    run, and in those that it `made` anything.
    """

    reads: tuple[Read, ...] = ()
    writes: tuple[Store, ...] = ()
    moves: tuple[Move, ...] = ()
    fresh: tuple[Fresh, ...] = ()
    shared: tuple[Same, ...] = ()
    outputs: int = 0
    counters: tuple[Place, ...] = ()
    made: tuple[Place, ...] = ()

    @property
    def leaves_tensors(self) -> bool:
        """Whether a tensor that a run returns may be one that it leaves behind, too."""
        return bool(self.writes or self.moves)

    @property
    def handed(self) -> frozenset[int]:
        """The outputs that are made of others, or of what the program was given, when they are handed on."""
        return frozenset(one.output for one in self.shared)

    @property
    def kept(self) -> tuple[Place, ...]:
        """The places that tensors are stored in, or read from."""
        return (*(read.place for read in self.reads), *(one.place for one in self.writes if has_tensor(one.recipe)))

    @property
    def only_count(self) -> bool:
        """Whether what was in the places before a run makes no difference to it."""
        counted = {place.identity for place in self.counters}
        return not (self.reads or self.moves) and all(one.place.identity in counted for one in self.writes)

    def used(self) -> Iterator[Place]:
        """The places whose tensors are read, or whose containers are filled again."""
        yield from (read.place for read in self.reads)
        yield from (place for one in self.writes for place in _refilled(one.recipe))

    def tensors(self) -> tuple[Any, ...]:
        """What the reads find now."""
        return tuple(read.value() for read in self.reads)


def has_tensor(recipe: Recipe | Added) -> bool:
    return isinstance(recipe, Stored) or (isinstance(recipe, Filled) and any(map(has_tensor, recipe.items)))


def _refilled(recipe: Recipe | Added) -> Iterator[Place]:
    if isinstance(recipe, Filled):
        yield from (recipe.into.place,) if recipe.into is not None else ()
        yield from (place for item in recipe.items for place in _refilled(item))


NO_STORES, NO_LIVE = Stores(), Live()
