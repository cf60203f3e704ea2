"""Padding rules for calls that write at places which are values: what is not valid is written beside the result.

    y = x.scatter(dim, i, s)      becomes      y = [x, 0].scatter(dim, [i; size], [s; 0])[:size]

Words of a text that grows, at which logits are changed, are such places. How several values at one place are combined,
or which of them stays, is left as it was.
"""

from typing import Any

import torch
from torch import fx

from fxsolve.loops.growing.sizes import AffineSize
from fxsolve.loops.padding.values import Dim, NoRuleError, PaddedValue, Padder, growing_factor
from fxsolve.loops.padding.views import pad_to
from fxsolve.ops.call import Call

aten = torch.ops.aten


def pad_scattered(p: Padder, call: Call) -> PaddedValue:
    """`scatter` and its like: places along one dimension."""
    x, index = p.value(call["self"]), p.value(call["index"])
    name = "src" if isinstance(call["src"], fx.Node) else ""
    if not x.dims:
        raise NoRuleError("writes into a number")
    dim = call["dim"] % len(x.dims)
    growing_factor(x.dims[dim])  # not folded
    replaced: dict[str, Any] = {}
    if name:
        source = p.value(call[name])
        if any(one != own and _grows(one) for one, own in zip(source.dims, index.dims, strict=True)):
            raise NoRuleError("writes values that grow in another way than their places")
        replaced[name] = p.masked_everywhere(source, 0).node
    pairs = zip(index.dims, x.dims, strict=True)
    if not any(_grows(one) and (k == dim or one != own) for k, (one, own) in enumerate(pairs)):
        replaced["index"] = p.masked_everywhere(index, 0).node
        return PaddedValue(p.again(call, replaced), x.dims)
    width = p.width(x.dims[dim])
    replaced["index"] = p.masked_everywhere(index, width).node
    replaced["self"] = pad_to(p, x.node, dim, width, width + 1)
    return PaddedValue(p.emit(aten.slice.Tensor, p.again(call, replaced), dim, 0, width), x.dims)


def pad_put(p: Padder, call: Call) -> PaddedValue:
    """x[i] = s, and x[i] += s, with one tensor of places along a dimension that does not grow."""
    x, given = p.value(call["self"]), [(k, one) for k, one in enumerate(call["indices"]) if one is not None]
    if len(given) != 1 or p.value(call["values"]).dims not in ((), p.value(given[0][1]).dims):
        raise NoRuleError("writes at places of several dimensions")
    ((dim, node),), values = given, p.value(call["values"])
    index, size = p.value(node), p.width(x.dims[dim])
    if x.grows or node.meta["spec"].dtype not in (torch.int64, torch.int32):
        raise NoRuleError("writes at places of something that grows, or by a mask")
    # Places may count from the end.
    counted = PaddedValue(p.emit(aten.remainder.Scalar, index.node, size), index.dims)
    places: list[Any] = [None] * dim
    places.append(p.masked_everywhere(counted, size).node)
    wide = pad_to(p, x.node, dim, size, size + 1)
    made = p.again(call, {"self": wide, "indices": places, "values": p.masked_everywhere(values, 0).node})
    return PaddedValue(p.emit(aten.slice.Tensor, made, dim, 0, size), x.dims)


def _grows(dim: Dim) -> bool:
    return any(isinstance(factor, AffineSize) for factor in dim)
