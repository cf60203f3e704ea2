"""Normalisations by fixed statistics as what they are: x * scale + shift, both made of weights alone."""

import torch
from torch import fx

from fxsolve.ir.builder import stand_in
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.ops.access import BatchNorm
from fxsolve.ops.call import Call

aten = torch.ops.aten


def scaled(graph: fx.Graph, call: Call, first: fx.Node) -> fx.Node | None:
    """A norm with fixed statistics as one call of `addcmul`; `first` is its first result, the only one that is read."""
    if call.fact.access != BatchNorm() or call["training"] or None in (call["running_mean"], call["eps"]):
        return None
    if not same_type(call["running_var"], call["input"]):
        return None
    scale = scale_of(graph, call)
    shift = stand_in(
        graph, scale, aten.neg.default, (stand_in(graph, scale, aten.mul.Tensor, (call["running_mean"], scale)),)
    )
    if call["bias"] is not None:
        shift = stand_in(graph, shift, aten.add.Tensor, (shift, call["bias"]))
    scale, shift = (beside_channels(graph, one, first) for one in (scale, shift))
    return stand_in(graph, first, aten.addcmul.default, (shift, call["input"], scale))


def scale_of(graph: fx.Graph, call: Call) -> fx.Node:
    """weight / sqrt(variance + eps) of each channel."""
    variance = call["running_var"]
    raised = stand_in(graph, variance, aten.add.Scalar, (variance, call["eps"]))
    scale = stand_in(graph, variance, aten.rsqrt.default, (raised,))
    return scale if call["weight"] is None else stand_in(graph, variance, aten.mul.Tensor, (scale, call["weight"]))


def same_type(one: fx.Node, other: fx.Node) -> bool:
    """Whether two tensors hold numbers of one type."""
    return one.meta["spec"].dtype == other.meta["spec"].dtype


def beside_channels(graph: fx.Graph, factors: fx.Node, like: fx.Node) -> fx.Node:
    """(C,) as (1, C, 1, ...) for a tensor `like` that of a node."""
    rank = len(like.meta["spec"].shape)
    spec: TensorSpec = factors.meta["spec"]
    made = stand_in(graph, factors, aten.reshape.default, (factors, [1, -1, *[1] * (rank - 2)]))
    shape = (1, *spec.shape, *[1] * (rank - 2))
    made.meta["spec"] = TensorSpec(shape, (*spec.shape, *[1] * (rank - 1)), spec.dtype, spec.device)
    return made
