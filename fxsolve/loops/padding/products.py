"""Padding rules for matrix products, attention and lookups."""

from typing import Any

import torch
from torch import fx

from fxsolve.loops.padding.joins import broadcast
from fxsolve.loops.padding.triangles import is_causal, takes_valid
from fxsolve.loops.padding.values import Dim, Dims, NoRuleError, PaddedValue, Padder, growing_factor
from fxsolve.ops.access import Product
from fxsolve.ops.call import Call

aten = torch.ops.aten


def _contracted(p: Padder, a: PaddedValue, i: int, b: PaddedValue, j: int) -> tuple[PaddedValue, PaddedValue]:
    """Both sides of a contraction, zero where the contracted dimension is not valid, for 0 NaN is NaN."""
    if a.dims[i] != b.dims[j]:
        raise NoRuleError("contracts dimensions that grow differently")
    if i == len(a.dims) - 1 and takes_valid(a, b):
        return a, b
    return p.masked(a, i, 0), p.masked(b, j, 0)


def pad_product(p: Padder, call: Call) -> PaddedValue:
    """Matrices and vectors; what is added broadcasts against the product."""
    names = call.fact.access
    assert isinstance(names, Product)
    a, b = p.value(call[names.left]), p.value(call[names.right])
    dims = _product_dims(a, b)
    if names.added and broadcast([p.value(call[names.added]).dims, dims]) != dims:
        raise NoRuleError("adds something that grows differently")
    a, b = _contracted(p, a, len(a.dims) - 1, b, max(len(b.dims) - 2, 0))
    return PaddedValue(p.again(call, {names.left: a.node, names.right: b.node}), dims)


def _product_dims(a: PaddedValue, b: PaddedValue) -> Dims:
    if a.dims[:-2] != b.dims[:-2]:
        raise NoRuleError("multiplies batches that grow differently")
    columns = b.dims[-1:] if len(b.dims) > 1 else ()
    return (*a.dims[:-1], *columns)


def pad_look_up(p: Padder, call: Call) -> PaddedValue:
    """Entries that are not valid look up a row that there is: row 0 in place of what they may hold."""
    weight, index = p.value(call["weight"]), p.value(call["indices"])
    if weight.grows:
        raise NoRuleError("looks up in a table that grows")
    if not index.harmless:
        is_settled = call["indices"] in p.settled
        index = _as_in_longest_step(p, index) if is_settled else p.masked_everywhere(index, 0)
    return PaddedValue(p.again(call, {"indices": index.node}), (*index.dims, *weight.dims[1:]))


def _as_in_longest_step(p: Padder, value: PaddedValue) -> PaddedValue:
    """What the longest step has of a settled value, and behind it the last of its entries again."""
    for dim in range(len(value.dims)):
        size = growing_factor(value.dims[dim])
        if size is not None:
            every = p.emit(aten.arange.default, p.width(value.dims[dim]), device=p.call_device(), pin_memory=False)
            places = p.emit(aten.clamp.default, every, None, max(size.at(0), size.at(p.last)) - 1)
            value = PaddedValue(p.emit(aten.index_select.default, value.node, dim, places), value.dims)
    return value


def pad_gathered(p: Padder, call: Call) -> PaddedValue:
    """Indices of a growing dimension point at valid entries, for they did so without the buffer."""
    x, index = p.value(call["self"]), p.value(call["index"])
    dim = call["dim"] % len(x.dims)
    growing_factor(x.dims[dim])  # not folded
    if any(a != b for k, (a, b) in enumerate(zip(x.dims, index.dims, strict=True)) if k != dim and (a or b)):
        raise NoRuleError("gathers along dimensions that grow differently")
    index = p.masked_everywhere(index, 0)
    return PaddedValue(p.again(call, {"index": index.node}), index.dims)


def pad_indexed(p: Padder, call: Call) -> PaddedValue:
    """Index tensors; along a growing dimension they may count from the end of the n_t valid entries: i modulo n_t."""
    x = p.value(call["self"])
    given = {k: p.value(index) for k, index in enumerate(call["indices"]) if index is not None}
    if any(index.node.meta["spec"].dtype == torch.bool for index in given.values()):
        raise NoRuleError("picks by a mask")
    indices = {k: _index(p, x.dims[k], index) for k, index in given.items()}
    made = p.again(call, {"indices": [indices.get(k) for k in range(max(indices) + 1)]})
    own = broadcast([index.dims for index in given.values()])
    first = min(indices) if len(indices) == max(indices) + 1 - min(indices) else 0
    left = [dim for k, dim in enumerate(x.dims) if k not in indices]
    return PaddedValue(made, (*left[:first], *own, *left[first:]))


def _index(p: Padder, dim: Dim, index: PaddedValue) -> fx.Node:
    if growing_factor(dim) is None:
        return p.masked_everywhere(index, 0).node
    return p.emit(aten.remainder.Scalar, index.node, p.valid(dim))


def pad_attention(p: Padder, call: Call) -> tuple[fx.Node, list[Dims]]:
    """Keys that are not valid get the weight exp(-inf) = 0, by the mask or by causality; 0 times infinity is NaN."""
    if "attn_mask" not in call.arguments or len(call.example) != 2:
        raise NoRuleError("has no rule for a dimension that grows")
    q, k, v = (p.value(call[name]) for name in ("query", "key", "value"))
    k, v = (_for_all_heads(p, q, one) for one in (k, v))
    if q.dims[:2] != k.dims[:2] or k.dims[:3] != v.dims[:3] or any(map(growing_factor, (*q.dims[:2], q.dims[3]))):
        raise NoRuleError("attends over batches that grow")
    k, v = (one if one.harmless else p.masked(one, 2, 0) for one in (k, v))
    replaced: dict[str, Any] = {"key": k.node, "value": v.node}
    hides = call["is_causal"] or is_causal(p, call["attn_mask"])
    if not (hides and q.dims[2] == k.dims[2]) and growing_factor(k.dims[2]) is not None:
        if call["is_causal"]:
            raise NoRuleError("attends causally from fewer positions than it attends to")
        mask = None if call["attn_mask"] is None else p.value(call["attn_mask"])
        replaced["attn_mask"] = _key_mask(p, q, k.dims[2], mask)
    return p.again(call, replaced), [(*q.dims[:3], v.dims[3]), (*q.dims[:3],)]


def _for_all_heads(p: Padder, query: PaddedValue, value: PaddedValue) -> PaddedValue:
    """Keys or values (B, H, N, E) that several heads (B, G H, L, E) of a query share, once for each of these."""
    heads, (samples, own, *rest) = query.node.meta["spec"].shape[1], value.node.meta["spec"].shape
    if heads == own or growing_factor(value.dims[1]) is not None:
        return value
    spread = p.emit(aten.unsqueeze.default, value.node, 2)
    spread = p.emit(aten.expand.default, spread, [samples, own, heads // own, *rest])
    made = p.emit(aten.reshape.default, spread, [samples, heads, *rest])
    return PaddedValue(made, (value.dims[0], query.dims[1], *value.dims[2:]), value.harmless)


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
