"""Padding rules for matrix products, attention and lookups."""

from typing import Any

import torch
from torch import fx

from fxsolve.ir.calls import arguments
from fxsolve.loops.padding.joins import broadcast
from fxsolve.loops.padding.values import Dim, Dims, NoRuleError, PaddedValue, Padder, growing_factor

aten = torch.ops.aten


def _contracted(p: Padder, a: PaddedValue, i: int, b: PaddedValue, j: int) -> tuple[PaddedValue, PaddedValue]:
    """Both sides of a contraction, zero where the contracted dimension is not valid, for 0 NaN is NaN."""
    if a.dims[i] != b.dims[j]:
        raise NoRuleError("contracts dimensions that grow differently")
    return p.masked(a, i, 0), p.masked(b, j, 0)


def pad_product(p: Padder, node: fx.Node) -> PaddedValue:
    """`mm`, `bmm` and `mv`."""
    a, b = (p.value(argument) for argument in node.args)
    return _product(p, node, (), a, b)


def pad_sum_of_product(p: Padder, node: fx.Node) -> PaddedValue:
    """`addmm` and `baddbmm`: what is added broadcasts against the product."""
    c, a, b = (p.value(argument) for argument in node.args)
    dims = _product_dims(a, b)
    if broadcast([c.dims, dims]) != dims:
        raise NoRuleError("adds something that grows differently")
    return _product(p, node, (c.node,), a, b)


def _product(p: Padder, node: fx.Node, before: tuple[fx.Node, ...], a: PaddedValue, b: PaddedValue) -> PaddedValue:
    a, b = _contracted(p, a, len(a.dims) - 1, b, max(len(b.dims) - 2, 0))
    return PaddedValue(p.emit(node.target, *before, a.node, b.node, **node.kwargs), _product_dims(a, b))


def _product_dims(a: PaddedValue, b: PaddedValue) -> Dims:
    if a.dims[:-2] != b.dims[:-2]:
        raise NoRuleError("multiplies batches that grow differently")
    columns = b.dims[-1:] if len(b.dims) > 1 else ()
    return (*a.dims[:-1], *columns)


def pad_embedding(p: Padder, node: fx.Node) -> PaddedValue:
    """Entries that are not valid look up row 0, whatever they hold."""
    weight, index = (p.value(argument) for argument in node.args[:2])
    if weight.grows:
        raise NoRuleError("looks up in a table that grows")
    index = p.masked_everywhere(index, 0)
    return PaddedValue(p.emit(node.target, weight.node, index.node, *node.args[2:]), (*index.dims, *weight.dims[1:]))


def pad_gather(p: Padder, node: fx.Node) -> PaddedValue:
    """Indices of a growing dimension point at valid entries, for they did so without the buffer."""
    source, dim, places, *rest = arguments(node)
    x, index = p.value(source), p.value(places)
    dim %= len(x.dims)
    growing_factor(x.dims[dim])  # not folded
    if any(a != b for k, (a, b) in enumerate(zip(x.dims, index.dims, strict=True)) if k != dim and (a or b)):
        raise NoRuleError("gathers along dimensions that grow differently")
    index = p.masked_everywhere(index, 0)
    return PaddedValue(p.emit(node.target, x.node, dim, index.node, *rest, **node.kwargs), index.dims)


def pad_index(p: Padder, node: fx.Node) -> PaddedValue:
    """Index tensors; along a growing dimension they may count from the end of the n_t valid entries: i modulo n_t."""
    source, places = arguments(node)
    x = p.value(source)
    given = {k: p.value(index) for k, index in enumerate(places) if index is not None}
    if any(index.node.meta["spec"].dtype == torch.bool for index in given.values()):
        raise NoRuleError("picks by a mask")
    indices = {k: _index(p, x.dims[k], index) for k, index in given.items()}
    made = p.emit(aten.index.Tensor, x.node, [indices.get(k) for k in range(max(indices) + 1)])
    own = broadcast([index.dims for index in given.values()])
    first = min(indices) if len(indices) == max(indices) + 1 - min(indices) else 0
    left = [dim for k, dim in enumerate(x.dims) if k not in indices]
    return PaddedValue(made, (*left[:first], *own, *left[first:]))


def _index(p: Padder, dim: Dim, index: PaddedValue) -> fx.Node:
    if growing_factor(dim) is None:
        return p.masked_everywhere(index, 0).node
    return p.emit(aten.remainder.Scalar, index.node, p.valid(dim))


def pad_attention(p: Padder, node: fx.Node) -> tuple[fx.Node, list[Dims]]:
    """Keys that are not valid get the weight exp(-inf) = 0, by the mask or by causality."""
    *tensors, dropout, causal = arguments(node, None, None, None, 0.0, False)
    q, k, v = map(p.value, tensors)
    if q.dims[:2] != k.dims[:2] or k.dims[:3] != v.dims[:3] or any(map(growing_factor, (*q.dims[:2], q.dims[3]))):
        raise NoRuleError("attends over batches that grow")
    kwargs: dict[str, Any] = dict(node.kwargs)
    given = kwargs.pop("attn_mask", None)
    mask = None if given is None else p.value(given)
    k, v = p.masked(k, 2, 0), p.masked(v, 2, 0)
    if not (causal and q.dims[2] == k.dims[2]) and growing_factor(k.dims[2]) is not None:
        kwargs["attn_mask"] = _key_mask(p, q, k.dims[2], mask)
        causal = _not_causal(causal)
    elif mask is not None:
        kwargs["attn_mask"] = mask.node
    made = p.emit(node.target, q.node, k.node, v.node, dropout, causal, **kwargs)
    return made, [(*q.dims[:3], v.dims[3]), (*q.dims[:3],)]


def _not_causal(causal: Any) -> bool:
    if causal:
        raise NoRuleError("attends causally from fewer positions than it attends to")
    return False


def _key_mask(p: Padder, q: PaddedValue, keys: Dim, mask: PaddedValue | None) -> fx.Node:
    """The additive mask (1, 1, q, N) or wider, -inf at keys that are not valid."""
    if mask is None:
        dtype, device = q.node.meta["spec"].dtype, p.call_device()
        shape = [1, 1, p.width(q.dims[2]), p.width(keys)]
        zeros = p.emit(aten.zeros.default, shape, dtype=dtype, device=device, pin_memory=False)
        mask = PaddedValue(zeros, ((), (), q.dims[2], keys))
    if mask.node.meta["spec"].dtype == torch.bool or mask.dims[-1] != keys:
        raise NoRuleError("attends by a mask that does not grow as the keys do")
    return p.masked(mask, len(mask.dims) - 1, -torch.inf).node
