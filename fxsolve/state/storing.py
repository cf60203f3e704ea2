"""State that a run rebinds, set in its places once the run is known to be valid."""

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import reduce
from operator import add
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from fxsolve.state.places import Place, refill
from fxsolve.state.stores import DETACH, Added, Constant, Fresh, Recipe, Same, Stored, Stores, View
from fxsolve.torch_compat.tensors import address_of_storage, is_view

_counting = Lock()  # two calls that count in one place at the same time count twice


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
