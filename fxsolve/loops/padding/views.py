"""Padding rules for calls that look at a tensor in another way."""

import torch
from torch import fx

from fxsolve.loops.growing.sizes import AffineSize
from fxsolve.loops.padding.values import Dim, Dims, NoRuleError, PaddedValue, Padder, growing_factor, plain
from fxsolve.ops.call import Call, order_of

aten = torch.ops.aten
_NO_END = 2**62  # Python's number is larger


def pad_same(p: Padder, call: Call) -> PaddedValue:
    """A call on one tensor that keeps its shape and treats all entries alike."""
    return PaddedValue(p.again(call, {}), p.value(call.first).dims)


def pad_reshaped(p: Padder, call: Call) -> PaddedValue:
    """The factors of all dimensions in order, dealt out again."""
    x = p.value(call.first)
    (sizes,) = p.sizes
    dims = deal_out([factor for dim in x.dims for factor in dim], sizes or ())
    drops_or_adds = "dim" in call.arguments or not {"size", "shape"} & set(call.arguments)
    return PaddedValue(
        p.again(call, {}) if drops_or_adds else p.emit(aten.reshape.default, x.node, p.widths(dims)), dims
    )


def deal_out(factors: list[int | AffineSize], sizes: tuple[AffineSize, ...]) -> Dims:
    """Group factors, which may be split, so that group k multiplies to size k."""
    left = factors[::-1]
    dims: list[Dim] = []
    for size in sizes:
        taken: list[int | AffineSize] = []
        while (have := _product(taken)) != size:
            if not left:
                raise NoRuleError("views a growing dimension in another way")
            taken.append(_take(left, size, have))
        dims.append(_merged(taken))
    if left:
        raise NoRuleError("views a growing dimension in another way")
    return tuple(dims)


def _merged(factors: list[int | AffineSize]) -> Dim:
    """The factors with neighbouring plain ones multiplied."""
    merged: list[int | AffineSize] = []
    for factor in factors:
        if merged and isinstance(factor, int) and isinstance(merged[-1], int):
            merged[-1] *= factor
        elif factor != 1:
            merged.append(factor)
    return tuple(merged)


def _product(factors: list[int | AffineSize]) -> AffineSize:
    first, slope = 1, 0
    for factor in factors:
        if isinstance(factor, int):
            first, slope = first * factor, slope * factor
        elif slope:
            raise NoRuleError("flattens two growing dimensions into one")
        else:
            first, slope = first * factor.first, first * factor.slope
    return AffineSize(first, slope)


def _take(left: list[int | AffineSize], size: AffineSize, have: AffineSize) -> int | AffineSize:
    """The next factor, or the part of it that is still missing in a size of which `have` is there."""
    factor = left.pop()
    if isinstance(factor, AffineSize) or not have.first or size.first % have.first:
        return factor
    missing = size.first // have.first
    grows_later = size.slope != have.slope and not have.slope
    if grows_later or missing <= 1 or factor <= missing or factor % missing:
        return factor
    left.append(factor // missing)
    return missing


def pad_expanded(p: Padder, call: Call) -> PaddedValue:
    """A dimension of one entry may become a growing one."""
    x = p.value(call.first)
    rank = len(p.result_dims())
    own: Dims = (*((),) * (rank - len(x.dims)), *x.dims)
    dims = tuple(new if old == () else old for old, new in zip(own, p.result_dims(), strict=True))
    return PaddedValue(p.emit(aten.expand.default, x.node, p.widths(dims)), dims)


def pad_permuted(p: Padder, call: Call) -> PaddedValue:
    x = p.value(call.first)
    return PaddedValue(p.again(call, {}), tuple(x.dims[k] for k in order_of(call, len(x.dims))))


def pad_cut(p: Padder, call: Call) -> PaddedValue:
    """One entry, or a range of them."""
    if "index" in call.arguments:
        return _pad_entry(p, call)
    if "step" not in call.arguments:
        raise NoRuleError("has no rule for a dimension that grows")
    return _pad_range(p, call)


def _pad_entry(p: Padder, call: Call) -> PaddedValue:
    """An entry of a growing dimension is counted from its beginning."""
    x, index = p.value(call["self"]), call["index"]
    dim = call["dim"] % len(x.dims)
    if growing_factor(x.dims[dim]) is not None:
        index %= p.valid(x.dims[dim])
    return PaddedValue(p.emit(aten.select.int, x.node, dim, index), (*x.dims[:dim], *x.dims[dim + 1 :]))


def _pad_range(p: Padder, call: Call) -> PaddedValue:
    """A range of fixed width within the valid entries, or one from a fixed start that grows as they do."""
    x = p.value(call["self"])
    dim = call["dim"] % len(x.dims)
    start, stop, _ = slice(call["start"], call["end"]).indices(p.valid(x.dims[dim]))
    new = p.result_dims()[dim]
    dims = (*x.dims[:dim], new, *x.dims[dim + 1 :])
    if new == x.dims[dim]:
        return x
    size, own = growing_factor(new), growing_factor(x.dims[dim])  # neither of them folded
    if call["step"] != 1:
        if size is not None or own is not None:
            raise NoRuleError("takes a growing dimension in strides")
        return PaddedValue(p.again(call, {}), dims)
    if size is None:
        return PaddedValue(_cut(p, call, x.node, dim, start, stop), dims)
    limit, have = p.limits[size.slope], p.width(x.dims[dim])
    cut = p.emit(aten.slice.Tensor, p.copies.get(p.call, x.node), dim, start, min(start + limit, have))
    return PaddedValue(pad_to(p, cut, dim, min(limit, have - start), limit), dims)


def _cut(p: Padder, call: Call, node: fx.Node, dim: int, start: int, stop: int) -> fx.Node:
    """A range of entries; all steps may take one that moves with the end of what is valid at once by its places."""
    if stop - start == 1:
        return p.emit(aten.unsqueeze.default, p.emit(aten.select.int, node, dim, start), dim)
    if (call["start"] or 0) >= 0 and call["end"] is not None and call["end"] < _NO_END:
        return p.emit(aten.slice.Tensor, node, dim, start, stop)
    first = p.emit(aten.arange.default, stop - start, device=p.call_device(), pin_memory=False)
    return p.emit(aten.index_select.default, node, dim, p.emit(aten.add.Scalar, first, start))


def pad_to(p: Padder, node: fx.Node, dim: int, width: int, limit: int) -> fx.Node:
    """The value with zeros behind its entries along `dim`, up to `limit`."""
    if width == limit:
        return node
    later = len(node.meta["spec"].shape) - 1 - dim
    return p.emit(aten.constant_pad_nd.default, node, [0, 0] * later + [0, limit - width], 0)


def pad_parts(p: Padder, call: Call) -> tuple[fx.Node, list[Dims]]:
    """Parts along a dimension that does not grow, each with that dimension or, if it is one entry, without it."""
    x = p.value(call["self"])
    dim = call["dim"] % len(x.dims)
    if growing_factor(x.dims[dim]) is not None:
        raise NoRuleError("splits a growing dimension")
    before, after = x.dims[:dim], x.dims[dim + 1 :]
    made = p.again(call, {})
    return made, [
        (*before, plain(sizes[dim].first), *after) if len(sizes) == len(x.dims) else (*before, *after)
        for sizes in p.sizes
        if sizes is not None
    ]
