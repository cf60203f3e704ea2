"""Padding rules for calls that reduce: the entries that are not valid get the value that changes nothing."""

from math import prod
from typing import Any

import torch
from torch import fx

from fxsolve.ir.calls import arguments
from fxsolve.loops.padding.values import Dims, NoRuleError, PaddedValue, Padder, growing_factor

aten = torch.ops.aten


def _least(dtype: torch.dtype) -> float | int | bool:
    if dtype == torch.bool:
        return False
    return -torch.inf if dtype.is_floating_point else torch.iinfo(dtype).min


def _greatest(dtype: torch.dtype) -> float | int | bool:
    if dtype == torch.bool:
        return True
    return torch.inf if dtype.is_floating_point else torch.iinfo(dtype).max


def _nothing(_: torch.dtype) -> int:
    return 0


# what changes nothing, where the reduced dimensions are the second argument
NEUTRAL: dict[Any, Any] = {
    aten.sum.dim_IntList: _nothing,
    aten.any.dim: _nothing,
    aten.any.dims: _nothing,
    aten.all.dim: lambda _: 1,
    aten.all.dims: lambda _: 1,
    aten.prod.dim_int: lambda _: 1,
    aten.amax.default: _least,
    aten.amin.default: _greatest,
    aten.argmax.default: _least,
    aten.argmin.default: _greatest,
    aten.max.dim: _least,
    aten.min.dim: _greatest,
    aten.logsumexp.default: _least,
    aten.sum.default: _nothing,
    aten.any.default: _nothing,
    aten.all.default: lambda _: 1,
    aten.max.default: _least,
    aten.min.default: _greatest,
}


def pad_softmax(p: Padder, node: fx.Node) -> PaddedValue:
    """exp(-inf) = 0: entries that are not valid have no weight."""
    source, dim, *rest = arguments(node)
    x = p.value(source)
    dim %= len(x.dims)
    x = p.masked(x, dim, -torch.inf)
    return PaddedValue(p.emit(node.target, x.node, dim, *rest), x.dims)


def pad_cumulative(p: Padder, node: fx.Node) -> PaddedValue:
    """An entry depends on those before it only."""
    source, dim = arguments(node)
    x = p.value(source)
    growing_factor(x.dims[dim])  # not folded
    return PaddedValue(p.emit(node.target, x.node, *node.args[1:], **node.kwargs), x.dims)


def pad_reduction(p: Padder, node: fx.Node) -> PaddedValue | tuple[fx.Node, list[Dims]]:
    """A reduction with a neutral value."""
    x = p.value(node.args[0])
    dims, keep = _reduced(node, len(x.dims))
    if node.target in (aten.argmax.default, aten.argmin.default) and arguments(node, None, None)[1] is None:
        raise NoRuleError("counts through a growing dimension")
    for dim in dims:
        x = p.masked(x, dim, NEUTRAL[node.target](x.node.meta["spec"].dtype))
    made = p.emit(node.target, x.node, *node.args[1:], **node.kwargs)
    left = _left(x.dims, dims, keep)
    return (made, [left, left]) if node.target in (aten.max.dim, aten.min.dim) else PaddedValue(made, left)


def pad_mean(p: Padder, node: fx.Node) -> PaddedValue:
    """The sum over the valid entries, divided by their number."""
    x = p.value(node.args[0])
    dims, keep = _reduced(node, len(x.dims))
    growing = [dim for dim in dims if growing_factor(x.dims[dim]) is not None]
    if not growing:
        made = p.emit(node.target, x.node, *node.args[1:], **node.kwargs)
        return PaddedValue(made, _left(x.dims, dims, keep))
    if node.kwargs:
        raise NoRuleError("changes the type of a mean")
    for dim in growing:
        x = p.masked(x, dim, 0)
    total = p.emit(aten.sum.dim_IntList, x.node, dims, keep)
    return PaddedValue(
        p.emit(aten.div.Tensor, total, prod(p.valid(x.dims[dim]) for dim in dims)), _left(x.dims, dims, keep)
    )


def pad_norm(p: Padder, node: fx.Node) -> PaddedValue:
    """A zero adds nothing to a norm of positive order."""
    source, order, given, keep, *_ = arguments(node, None, 2, None, False)
    x = p.value(source)
    dims = [dim % len(x.dims) for dim in given or range(len(x.dims))]
    if order <= 0:
        raise NoRuleError("takes a norm whose order is not positive")
    for dim in dims:
        x = p.masked(x, dim, 0)
    return PaddedValue(p.emit(node.target, x.node, *node.args[1:], **node.kwargs), _left(x.dims, dims, keep))


def _reduced(node: fx.Node, rank: int) -> tuple[list[int], bool]:
    """The dimensions that a call reduces, and whether it keeps them."""
    _, given, keep, *_ = arguments(node, None, None, False)
    chosen = [] if given is None else given if isinstance(given, (list, tuple)) else [given]
    return [dim % rank for dim in chosen] or list(range(rank)), keep


def _left(dims: Dims, reduced: list[int], keep: bool) -> Dims:
    if keep:
        return tuple(() if k in reduced else dim for k, dim in enumerate(dims))
    return tuple(dim for k, dim in enumerate(dims) if k not in reduced)


def pad_layer_norm(p: Padder, node: fx.Node) -> tuple[fx.Node, list[Dims]]:
    """Each position is normalised alone."""
    source, shape, *_ = arguments(node)
    x = p.value(source)
    rows = len(x.dims) - len(shape)
    if any(growing_factor(dim) for dim in x.dims[rows:]) or any(
        isinstance(argument, fx.Node) and p.value(argument).grows for argument in node.args[1:]
    ):
        raise NoRuleError("normalises over a growing dimension")
    made = p.emit(node.target, x.node, *node.args[1:])
    statistics = (*x.dims[:rows], *((),) * (len(x.dims) - rows))
    return made, [x.dims, statistics, statistics]
