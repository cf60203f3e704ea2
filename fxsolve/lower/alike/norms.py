"""Normalisations by fixed statistics as what they are: x * scale + shift, both made of weights alone."""

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from fxsolve.ir.builder import stand_in
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.ops.access import BatchNorm
from fxsolve.ops.call import Call, bind
from fxsolve.torch_compat.graphs import Graph
from fxsolve.torch_compat.operators import OpOverload

aten = torch.ops.aten


def fold_norms(graph: fx.Graph) -> fx.Graph:
    """A copy of the graph in which batch norms in evaluation mode are one call of `addcmul` each."""
    folded = Graph()
    copied: dict[fx.Node, Any] = {}
    for node in graph.nodes:
        if node.op == "output":
            folded.output(fx.map_arg(node.args[0], lambda source: copied[source]))
        elif (call := _evaluated_norm(node, copied)) is not None:
            copied[node] = _scaled(folded, call, next(iter(node.users)))
        elif node.target is operator.getitem and isinstance(copied[node.args[0]], list):
            copied[node] = copied[node.args[0]][node.args[1]]
        else:
            copied[node] = folded.node_copy(node, lambda source: copied[source])
    return folded


def _evaluated_norm(node: fx.Node, copied: Mapping[fx.Node, Any]) -> Call | None:
    """The call of a batch norm with fixed statistics, of which only the first result is read."""
    if not isinstance(node.target, OpOverload) or any(user.args[1] for user in node.users if _is_part(user)):
        return None
    args, kwargs = fx.map_arg((node.args, node.kwargs), lambda source: copied[source])
    call = bind(node.target, args, dict(kwargs), node.meta.get("spec"))
    if call.fact.access != BatchNorm() or call["training"] or None in (call["running_mean"], call["eps"]):
        return None
    return call if call["running_var"].meta["spec"].dtype == call["input"].meta["spec"].dtype else None


def _is_part(user: fx.Node) -> bool:
    return user.target is operator.getitem


def _scaled(graph: fx.Graph, call: Call, like: fx.Node) -> list[fx.Node]:
    """The results of a norm, whose first one looks `like` a node; those behind it, which nobody reads, are left out."""
    variance = call["running_var"]

    def make(target: Any, *args: Any) -> fx.Node:
        return stand_in(graph, variance, target, args)

    scale = make(aten.rsqrt.default, make(aten.add.Scalar, variance, call["eps"]))
    if call["weight"] is not None:
        scale = make(aten.mul.Tensor, scale, call["weight"])
    shift = make(aten.neg.default, make(aten.mul.Tensor, call["running_mean"], scale))
    if call["bias"] is not None:
        shift = make(aten.add.Tensor, shift, call["bias"])
    scale, shift = (_beside_channels(graph, one, len(like.meta["spec"].shape)) for one in (scale, shift))
    return [stand_in(graph, like, aten.addcmul.default, (shift, call["input"], scale))]


def _beside_channels(graph: fx.Graph, factors: fx.Node, rank: int) -> fx.Node:
    """(C,) as (1, C, 1, ...)."""
    spec: TensorSpec = factors.meta["spec"]
    made = stand_in(graph, factors, aten.reshape.default, (factors, [1, -1, *[1] * (rank - 2)]))
    shape = (1, *spec.shape, *[1] * (rank - 2))
    made.meta["spec"] = TensorSpec(shape, (*spec.shape, *[1] * (rank - 1)), spec.dtype, spec.device)
    return made
