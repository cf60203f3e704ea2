"""Padding rules for calls that reduce: the entries that are not valid get the value that changes nothing."""

from math import inf, isinf, prod

import torch
from torch import fx

from fxsolve.loops.padding.values import Dims, NoRuleError, PaddedValue, Padder, growing_factor
from fxsolve.ops.call import Call

aten = torch.ops.aten


def in_type(number: float, dtype: torch.dtype) -> float | int | bool:
    """The number that stands for `number` in a type: the least that there is for -inf, the largest for inf."""
    if dtype == torch.bool:
        return number > 0
    if dtype.is_floating_point or dtype.is_complex or not isinf(number):
        return number
    return torch.iinfo(dtype).max if number == inf else torch.iinfo(dtype).min


def pad_softmax(p: Padder, call: Call) -> PaddedValue:
    """exp(-inf) = 0: entries that are not valid have no weight."""
    if "keepdim" in call.arguments:
        return _reduced(p, call)  # pyright: ignore[reportReturnType]
    x = p.value(call["self"])
    dim = call["dim"] % len(x.dims)
    if not (x.above == -inf and dim == len(x.dims) - 1):
        x = p.masked(x, dim, -inf)
    return PaddedValue(p.again(call, {"self": x.node}), x.dims)


def pad_cumulative(p: Padder, call: Call) -> PaddedValue | tuple[fx.Node, list[Dims]]:
    """An entry depends on those before it only."""
    x = p.value(call["self"])
    growing_factor(x.dims[call["dim"]])  # not folded
    return _same_for_all(p, call, p.again(call, {}), x.dims)


def pad_reduced(p: Padder, call: Call) -> PaddedValue | tuple[fx.Node, list[Dims]]:
    """A reduction with a neutral value, or a mean."""
    if call.name == "mean":
        return _mean(p, call)
    if call.fact.neutral is None:
        raise NoRuleError("has no rule for a dimension that grows")
    if call.name in ("argmax", "argmin") and call["dim"] is None:
        raise NoRuleError("counts through a growing dimension")
    if "ord" in call.arguments and call["ord"] <= 0:
        raise NoRuleError("takes a norm whose order is not positive")
    return _reduced(p, call)


def _reduced(p: Padder, call: Call) -> PaddedValue | tuple[fx.Node, list[Dims]]:
    x = p.value(call["self"])
    dims, left = _dims(call, x.dims)
    for dim in dims:
        x = p.masked(x, dim, in_type(call.fact.neutral or 0, x.node.meta["spec"].dtype))
    return _same_for_all(p, call, p.again(call, {"self": x.node}), left)


def _same_for_all(p: Padder, call: Call, made: fx.Node, dims: Dims) -> PaddedValue | tuple[fx.Node, list[Dims]]:
    """The one result of a call, or several of the same form."""
    return PaddedValue(made, dims) if hasattr(call.example, "dtype") else (made, [dims] * len(call.example))


def _mean(p: Padder, call: Call) -> PaddedValue:
    """The sum over the valid entries, divided by their number."""
    x = p.value(call["self"])
    dims, left = _dims(call, x.dims)
    growing = [dim for dim in dims if growing_factor(x.dims[dim]) is not None]
    if not growing:
        return PaddedValue(p.again(call, {"self": x.node}), left)
    if p.call.kwargs:
        raise NoRuleError("changes the type of a mean")
    for dim in growing:
        x = p.masked(x, dim, 0)
    total = p.emit(aten.sum.dim_IntList, x.node, dims, call["keepdim"] or False)
    return PaddedValue(p.emit(aten.div.Tensor, total, prod(p.valid(x.dims[dim]) for dim in dims)), left)


def _dims(call: Call, dims: Dims) -> tuple[list[int], Dims]:
    """The dimensions that a call reduces, and what is left of all."""
    given = [call["dim"]] if isinstance(call["dim"], int) else call["dim"]
    reduced = [dim % len(dims) for dim in given or range(len(dims))]
    if call["keepdim"]:
        return reduced, tuple(() if k in reduced else dim for k, dim in enumerate(dims))
    return reduced, tuple(dim for k, dim in enumerate(dims) if k not in reduced)


def pad_layer_norm(p: Padder, call: Call) -> tuple[fx.Node, list[Dims]]:
    """Each position is normalised alone; the statistics have one entry for each."""
    x = p.value(call["input"])
    rows = len(x.dims) - len(call["normalized_shape"])
    others = [leaf for name, leaf in call.arguments.items() if name != "input" and isinstance(leaf, fx.Node)]
    if any(growing_factor(dim) for dim in x.dims[rows:]) or any(p.value(other).grows for other in others):
        raise NoRuleError("normalises over a growing dimension")
    statistics = (*x.dims[:rows], *((),) * (len(x.dims) - rows))
    return p.again(call, {}), [x.dims, *[statistics] * (len(call.example) - 1)]
