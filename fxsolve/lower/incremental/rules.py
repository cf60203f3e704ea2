"""Ops at places: which entries of their arguments are read there, and the same op on these.

A rule takes the places of a result and returns what stands there, (P, ...), or None where the op mixes what stands at
several places; such ops are computed whole.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from fxsolve.lower.incremental.places import Places, places_at, project
from fxsolve.lower.incremental.pointwise import same_place
from fxsolve.lower.incremental.products import attention, factor, product
from fxsolve.lower.incremental.values import Rule, StepValues
from fxsolve.lower.incremental.windows import convolution, pool
from fxsolve.ops import access
from fxsolve.ops.call import Call
from fxsolve.torch_compat.trees import pytree


def joined(values: StepValues, call: Call, places: Places, _: int | None) -> Tensor | None:
    """Tensors that are joined along a dimension without places; or else one of them stands at each place."""
    tensors, shape = list(call["tensors"]), call.example.shape
    dim = (call["dim"] or 0) % len(shape)
    if dim in places.dims:
        return None if call.name == "stack" else _chosen(values, tensors, places, shape, dim)
    onto = {one: one - (call.name == "stack" and one > dim) for one in places.dims}
    parts = [values.at(node, project(places, shape, onto, node.meta["val"].shape)) for node in tensors]
    join = torch.stack if call.name == "stack" else torch.cat
    return join([part.expand(places.count, *part.shape[1:]) for part in parts], dim + 1)


def _chosen(
    values: StepValues, tensors: list[fx.Node], places: Places, shape: Sequence[int], dim: int
) -> Tensor | None:
    """Each place is of one of the tensors, which lie one behind the other along `dim`."""
    coordinates, first, result = places.coordinates(shape), 0, None
    for node in tensors:
        own = node.meta["val"].shape
        inside = (coordinates[dim] >= first) & (coordinates[dim] < first + own[dim])
        if inside.any():
            moved = {**coordinates, dim: (coordinates[dim] - first).clip(0, own[dim] - 1)}
            found = values.at(node, places_at(moved, own, np.zeros_like(inside)))
            here = values.store.row(Places(places.dims, inside.astype(np.int64))).bool()
            chosen = here.view(-1, *(1 for _ in found.shape[1:]))
            result = found if result is None else torch.where(chosen, found, result)
        first += own[dim]
    return result


def along(values: StepValues, call: Call, places: Places, part: int | None) -> Tensor | None:
    """Ops that combine entries along dimensions without places."""
    fact, value = call.fact.access, call.first
    assert isinstance(fact, access.Reduced | access.Softmax | access.Cumulative)
    others = [leaf for leaf in pytree.tree_leaves(list(call.arguments.values())) if isinstance(leaf, fx.Node)]
    if len(others) > 1 or not isinstance(value, fx.Node):
        return None
    shape = value.meta["val"].shape
    combined = _dims(call[fact.dim] if fact.dim in call.arguments else -1, len(shape))
    example = call.example if part is None else call.example[part]
    kept = list(range(len(shape)))
    if example.dim() != len(shape):
        kept = [dim for dim in kept if dim not in combined]
    onto = {dim: kept[dim] for dim in places.dims}
    if set(onto.values()) & set(combined) or len(kept) != example.dim():
        return None
    found = values.at(value, project(places, example.shape, onto, shape))
    name = next(iter(call.arguments))
    result = torch.vmap(lambda one: call.run({name: one}))(found)
    return result if part is None else result[part]


def _dims(dim: Any, rank: int) -> list[int]:
    if dim is None or dim == []:
        return list(range(rank))
    return [one % max(rank, 1) for one in ([dim] if isinstance(dim, int) else dim)]


def layer_norm(values: StepValues, call: Call, places: Places, part: int | None) -> Tensor | None:
    """The last dimensions are combined; all others may have places."""
    value, free = call["input"], call["input"].meta["val"].dim() - len(call["normalized_shape"])
    if any(dim >= free for dim in places.dims):
        return None
    found = values.at(value, places)
    weights = {name: values.whole(call[name]) for name in ("weight", "bias") if isinstance(call[name], fx.Node)}
    result = call.run({"input": found, **weights})
    return result if part is None else result[part]


def batch_norm(values: StepValues, call: Call, places: Places, part: int | None) -> Tensor | None:
    """A factor and a term for each channel, if not in training; places of channels are channels of their own."""
    if part != 0 or call["training"]:
        return None
    found = values.at(call["input"], places)
    names = [one for one in call.arguments if one != "input" and isinstance(call[one], fx.Node)]
    if 1 not in places.dims:
        given = {name: values.whole(call[name]) for name in names}
        return call.run({"input": found.flatten(0, 1), **given})[0].unflatten(0, found.shape[:2])
    channels = project(places, call.first.meta["val"].shape, {1: 0}, call.first.meta["val"].shape[1:2])
    given = {name: values.at(call[name], channels).flatten() for name in names}
    return call.run({"input": found.squeeze(2).movedim(0, 1), **given})[0].movedim(1, 0).unsqueeze(2)


def look_up(values: StepValues, call: Call, places: Places, _: int | None) -> Tensor | None:
    """weight[indices], where the indices stand at the places."""
    indices = call["indices"]
    if any(dim >= indices.meta["val"].dim() for dim in places.dims):
        return None
    return call.run({"indices": values.at(indices, places), "weight": values.whole(call["weight"])})


def gathered(values: StepValues, call: Call, places: Places, _: int | None) -> Tensor | None:
    """x.gather(dim, index): the index stands at the place, and x at any along `dim`."""
    value, index, shape = call["self"], call["index"], call.example.shape
    dim = call["dim"] % len(shape)
    own = value.meta["val"].shape
    if any(shape[one] != own[one] for one in places.dims if one != dim):
        return None
    at_index = values.at(index, places)
    at_value = factor(values, value, places, shape, [one for one in places.dims if one != dim])
    if at_value.dim() == len(own):
        return torch.vmap(lambda one: torch.gather(at_value, dim, one))(at_index)
    return torch.gather(at_value, dim + 1, at_index)


def real_parts(values: StepValues, call: Call, places: Places, _: int | None) -> Tensor | None:
    """Both parts of the complex numbers at the places."""
    value = call["self"]
    if value.meta["val"].dim() in places.dims:
        return None
    return torch.view_as_real(values.at(value, places).resolve_conj())


def from_parts(values: StepValues, call: Call, places: Places, _: int | None) -> Tensor | None:
    """The complex numbers at the places; their parts have none."""
    return torch.view_as_complex(values.at(call["self"], places).contiguous())


RULES: Mapping[type, Rule] = {
    access.SamePlace: same_place,
    access.Chosen: same_place,
    access.SameEntries: same_place,
    access.RealParts: real_parts,
    access.FromParts: from_parts,
    access.Joined: joined,
    access.Reduced: along,
    access.Softmax: along,
    access.Cumulative: along,
    access.LayerNorm: layer_norm,
    access.BatchNorm: batch_norm,
    access.Product: product,
    access.Attention: attention,
    access.LookUp: look_up,
    access.Gathered: gathered,
    access.Convolution: convolution,
    access.Pool: pool,
}
