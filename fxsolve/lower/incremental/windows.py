"""Convolutions and pooling at places: the windows that a result there reads, and the op on these alone."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from fxsolve.lower.incremental.layout import put_back, unwidened
from fxsolve.lower.incremental.places import Numbers, Places, comes_first, places_at, widen
from fxsolve.lower.incremental.values import StepValues
from fxsolve.ops.access import Pool
from fxsolve.ops.call import Call

_PLAIN = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def convolution(values: StepValues, call: Call, places: Places, _: int | None) -> Tensor | None:
    """Along dimensions with places a window for each of them, and all of the value along the others."""
    shape = call.example.shape
    sides = range(2, len(shape))
    if 1 in places.dims or 0 in places.dims or not set(places.dims) <= set(sides):
        return None
    missing = [dim for dim in sides if dim not in places.dims]
    if call["transposed"] and missing:
        return _over_all(values, call, places, missing)
    weight = values.whole(call["weight"])
    kernel = {dim: weight.shape[dim] for dim in places.dims}
    patches = _windows(values, call["input"], call, places, kernel)
    bias = values.whole(call["bias"]) if call["bias"] is not None else None
    if not missing and call["groups"] == 1:
        return _as_product(patches, weight, bias, call["transposed"])
    if call["transposed"]:
        groups = call["groups"]
        weight = weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    options = {
        name: [1 if dim in kernel else _number(call[name], dim) for dim in sides] for name in ("stride", "dilation")
    }
    padding = [0 if dim in kernel else _number(call["padding"], dim) for dim in sides]
    plain = _PLAIN[len(sides)]
    found = plain(patches.flatten(0, 1), weight, bias, padding=padding, groups=call["groups"], **options)
    return found.unflatten(0, patches.shape[:2])


def _over_all(values: StepValues, call: Call, places: Places, missing: Sequence[int]) -> Tensor | None:
    """By way of these places and all along the dimensions that have none."""
    shape, first = call.example.shape, comes_first(places, missing)
    found = convolution(values, call, widen(places, shape, missing, first), None)
    return None if found is None else unwidened(found, places.count, shape, missing, first)


def _as_product(patches: Tensor, weight: Tensor, bias: Tensor | None, transposed: bool) -> Tensor:
    """(P, N, C, *kernel) with a weight (O, C, *kernel), or (C, O, *kernel) -> (P, N, O, 1, ...)."""
    matrix = weight.transpose(0, 1).flatten(1) if transposed else weight.flatten(1)
    found = F.linear(patches.flatten(2).flatten(0, 1), matrix, bias).unflatten(0, patches.shape[:2])
    return found.reshape(*found.shape, *(1 for _ in weight.shape[2:]))


def _windows(values: StepValues, node: Any, call: Call, places: Places, kernel: dict[int, int]) -> Tensor:
    """What the places read, (P, N, C, *sides): a window along dimensions with places, everything along others."""
    sizes = node.meta["val"].shape
    coordinates = {dim: one[:, :, None] for dim, one in places.coordinates(call.example.shape).items()}
    count = math.prod(kernel.values())
    grid = Places(tuple(kernel), np.arange(count)).coordinates([kernel.get(dim, 1) for dim in range(len(sizes))])
    outside = np.zeros((len(places.table), places.count, count), bool)
    found: dict[int, Numbers] = {}
    for dim, one in coordinates.items():
        at, misses = _read(call, dim, one, grid[dim])
        outside = outside | misses | (at < 0) | (at >= sizes[dim])
        found[dim] = np.broadcast_to(at.clip(0, sizes[dim] - 1), outside.shape)
    spread = places_at(found, sizes, outside)
    value = values.at(node, Places(spread.dims, spread.table.reshape(len(spread.table), -1)), 0.0)
    value = value.unflatten(0, (places.count, *kernel.values()))
    return put_back(value, list(kernel))


def _read(call: Call, dim: int, out: Numbers, k: Numbers) -> tuple[Numbers, Numbers]:
    """Where along `dim` entry k of the window of a result lies, and whether there is none."""
    stride, padding, dilation = (_number(call[name], dim) for name in ("stride", "padding", "dilation"))
    if "transposed" in call.arguments and call["transposed"]:
        reached = out + padding - k * dilation
        return reached // stride, reached % stride != 0
    return out * stride - padding + k * dilation, np.zeros((out + k).shape, bool)


def _number(numbers: Sequence[int], dim: int) -> int:
    """That of a dimension behind samples and channels; one alone stands for all of them."""
    return numbers[0] if len(numbers) == 1 else numbers[dim - 2]


def pool(values: StepValues, call: Call, places: Places, part: int | None) -> Tensor | None:
    """Windows without padding, of dimensions that all have places."""
    fact, shape = call.fact.access, call.first.meta["val"].shape
    assert isinstance(fact, Pool)
    sides = range(2, len(shape))
    is_plain = not any(call["padding"]) and not call["ceil_mode"] and part in (None, 0)
    if not is_plain or len(sides) != fact.sides or set(places.dims) != set(sides):
        return None
    kernel = {dim: _number(call["kernel_size"], dim) for dim in sides}
    options = {"stride": call["stride"] or call["kernel_size"], "dilation": call["dilation"] or [1]}
    example = call.example if part is None else call.example[part]
    given = Call(call.target, {**call.arguments, **options}, example, call.fact)
    patches = _windows(values, call.first, given, places, kernel)
    dense = {name: [1] for name in options if name in call.arguments}
    found = call.run({next(iter(call.arguments)): patches.flatten(0, 1), **dense})
    return (found if part is None else found[part]).unflatten(0, patches.shape[:2])
