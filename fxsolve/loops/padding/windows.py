"""Padding rules for calls that add entries at the ends of a dimension, or that read windows along it."""

import torch
from torch import fx

from fxsolve.loops.padding.values import Dims, NoRuleError, PaddedValue, Padder, growing_factor
from fxsolve.loops.padding.views import pad_to
from fxsolve.ops.call import Call

aten = torch.ops.aten


def pad_ends(p: Padder, call: Call) -> PaddedValue:
    """What is added behind the valid entries takes the place of entries that are not valid."""
    if call.name != "constant_pad_nd":
        raise NoRuleError("has no rule for a dimension that grows")
    x, pads, dims = p.value(call["self"]), list(call["pad"]), p.result_dims()
    if any(len(dim) > 1 for dim in x.dims):
        raise NoRuleError("folds a growing dimension with another one")
    for dim in range(len(dims)):
        place = 2 * (len(dims) - 1 - dim)
        if place >= len(pads) or growing_factor(x.dims[dim]) is None:
            continue
        if pads[place + 1] > 0:
            x = p.masked(x, dim, call["value"])
        pads[place + 1] = p.width(dims[dim]) - p.width(x.dims[dim]) - pads[place]
    return PaddedValue(p.emit(aten.constant_pad_nd.default, x.node, pads, call["value"]), dims)


def pad_convolution(p: Padder, call: Call) -> PaddedValue:
    """Valid results read valid entries, and the zeros around these."""
    x, dims = p.value(call["input"]), p.result_dims()
    growing = [dim for dim, factors in enumerate(x.dims) if growing_factor(factors) is not None]
    if p.value(call["weight"]).grows or min(growing, default=0) < 2:
        raise NoRuleError("convolves channels or samples that grow")
    if call["transposed"] or any(_each(call["stride"], x.dims)[dim - 2] != 1 for dim in growing):
        raise NoRuleError("takes a growing dimension in strides")
    for dim in growing:
        is_free = x.harmless and not _each(call["padding"], x.dims)[dim - 2]
        x = x if is_free else p.masked(x, dim, 0)
    made = p.again(call, {"input": x.node})
    for dim in growing:
        made = _fit(p, made, dim, p.width(dims[dim]))
    return PaddedValue(made, dims)


def _each(value: list[int], dims: Dims) -> list[int]:
    """A number for each dimension behind samples and channels; one number stands for all."""
    return [*value] * (len(dims) - 2) if len(value) == 1 else [*value]


def _fit(p: Padder, node: fx.Node, dim: int, width: int) -> fx.Node:
    """The value with as many entries along `dim` as its buffer has."""
    have = node.meta["spec"].shape[dim]
    return p.emit(aten.slice.Tensor, node, dim, 0, width) if have > width else pad_to(p, node, dim, have, width)
