"""State that a program rebinds: read from its places at each call, and set there once a run is known to be valid.

A program that sets `self.h = h` reads a value of its last call and leaves one for its next call: one more input and one
more output of the graph. What a place is set to is kept as a recipe, which makes new containers where the program does.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from threading import Lock
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fxsolve.capture.state.places import MISSING, Container, Place, containers_in, refill
from fxsolve.torch_compat.operators import OpOverload
from fxsolve.torch_compat.tensors import address_of_storage, is_view

_counting = Lock()  # two calls that count in one place at the same time count twice

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


def settle(
    stores: Stores, inputs: tuple[Tensor, ...], attributes: Mapping[str, Tensor], outputs: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """The outputs, each the tensor, or the view, that it was in the recorded run.

    Those to be stored share memory with what they shared it with there, and no more.
    """
    results = list(outputs)
    made_again = stores.handed
    own = [output for number, output in enumerate(outputs[: stores.outputs]) if number not in made_again]
    taken = _counts((*inputs, *attributes.values(), *own)) if stores.fresh else {}
    for one in stores.fresh:
        own = _own(results[one.output], one, taken)
        results[one.output] = own if one.wants_grad or not (own.requires_grad or is_view(own)) else own.detach()
    for same in stores.shared:
        bases: Any = {"input": inputs, "attribute": attributes, "output": results}[same.kind]
        results[same.output] = _follow(same, bases[same.base])
    return tuple(results)


def are_handed(
    stores: Stores, inputs: tuple[Tensor, ...], attributes: Mapping[str, Tensor], outputs: tuple[Tensor, ...]
) -> bool:
    """Whether `shared` tells which of the outputs of the original are these tensors, or views of them."""
    with torch.no_grad():
        made = settle(replace(stores, fresh=()), inputs, attributes, outputs)
    pairs = [(made[same.output], outputs[same.output], same.route) for same in stores.shared]
    return all(_lie_alike(one, other) if route else one is other for one, other, route in pairs)


def _lie_alike(one: Tensor, other: Tensor) -> bool:
    lying = [(view.data_ptr(), view.shape, view.stride(), view.dtype, view.is_conj()) for view in (one, other)]
    return lying[0] == lying[1]


def _follow(same: Same, base: Tensor) -> Tensor:
    """The tensor at the end of a route, made in the mode in which the program made it."""
    if not same.route:
        return base
    is_cut = base.requires_grad and not same.wants_grad and all(one.function is not DETACH for one in same.route)
    with torch.no_grad() if is_cut else nullcontext():
        for function, args, kwargs, part in same.route:
            base = function(base, *args, **kwargs) if part is None else function(base, *args, **kwargs)[part]
    return base


def _counts(tensors: Iterable[Tensor]) -> Mapping[int, int]:
    """How many different tensors there are on each memory."""
    distinct = {id(tensor): tensor for tensor in tensors}.values()
    return Counter(map(address_of_storage, map(Tensor.untyped_storage, distinct)))


def _own(tensor: Tensor, fresh: Fresh, taken: Mapping[int, int]) -> Tensor:
    """A tensor on memory that nothing else uses, which it fills."""
    storage, strides = tensor.untyped_storage(), fresh.strides
    is_laid_out = strides is None or tensor.stride() == strides
    if is_laid_out and storage.nbytes() == fresh.size and taken[address_of_storage(storage)] <= 1:
        return tensor
    if strides is None:
        return tensor.clone()
    own = torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype, device=tensor.device)
    once = tuple(slice(0, 1) if stride == 0 else slice(None) for stride in strides)
    own[once].copy_(tensor[once])
    return own


def make_view(tensor: Tensor, view: View) -> Tensor:
    """The view of `tensor` that `view` tells of."""
    shape, stride, offset = view
    return tensor.as_strided(shape, stride, tensor.storage_offset() + offset)


def store(stores: Stores, outputs: tuple[Tensor, ...]) -> None:
    """Set every place to what the program leaves in it."""
    made: dict[int, Any] = {}
    fills: list[tuple[Any, Any]] = []
    values: list[tuple[Place, Any]] = []
    for place, recipe in stores.writes:
        if not isinstance(recipe, Added):
            values.append((place, _make(recipe, outputs, made, fills)))
    for container, items in fills:
        refill(container, items)
    for place, value in values:
        place.write(value)
    for place, recipe in stores.writes:
        if isinstance(recipe, Added):
            with _counting:
                place.write(reduce(add, recipe.numbers, place.read()))


def _make(recipe: Recipe, outputs: tuple[Tensor, ...], made: dict[int, Any], fills: list[tuple[Any, Any]]) -> Any:
    if isinstance(recipe, Stored):
        return outputs[recipe.output]
    if isinstance(recipe, Constant):
        return recipe.value
    if id(recipe) not in made:
        items = [_make(item, outputs, made, fills) for item in recipe.items]
        if recipe.into is None:
            made[id(recipe)] = recipe.make(items)
        else:
            made[id(recipe)] = container = recipe.into.value()
            fills.append((container, recipe.make(items)))
    return made[id(recipe)]


def hold(places: Iterable[Place], tensors: Iterable[Tensor] = ()) -> "Held":
    """What these places hold now, and what memory these tensors are on."""
    values = tuple((place, place.read()) for place in places)
    contents = {id(one.container): one for _, value in values for one in containers_in(value)}
    return Held(values, tuple(contents.values()), tuple((tensor, tensor.detach()) for tensor in tensors))


@dataclass(frozen=True)
class Held:
    """What places held, the items of the containers among it, and tensors with others on the memory they had."""

    values: tuple[tuple[Place, Any], ...] = ()
    contents: tuple[Container, ...] = ()
    memories: tuple[tuple[Tensor, Tensor], ...] = ()

    def put_back(self) -> None:
        for tensor, memory in self.memories:
            tensor.data = memory
        for container in self.contents:
            container.write()
        for place, value in self.values:
            place.write(value)

    def now(self) -> list[Any]:
        """What the places and the tensors hold now."""
        held = [None if (value := place.read()) is MISSING else value for place, _ in self.values]
        return [*held, *(tensor.detach() for tensor, _ in self.memories)]


NO_STORES, NO_LIVE, NOTHING_HELD = Stores(), Live(), Held()
