"""Readable targets: `torch.add(a, b)` instead of `torch.ops.aten.add.Tensor(a, b)`."""

from collections.abc import Callable
from types import BuiltinFunctionType
from typing import Any

import torch
from torch import fx

from fxsolve.solvers.rnn_layer import rnn_layer, rnn_layer_backward
from fxsolve.torch_compat.graphs import Graph, LazyGraphModule, lazy_module
from fxsolve.torch_compat.operators import OpOverload, functions_of_layers, operator_name_of, schema_of


def readable(module: fx.GraphModule) -> fx.GraphModule:
    """Call ATen ops through their `torch` functions, which run the same kernels and cost 1 us less a call."""
    for node in module.graph.nodes:
        if node.op == "call_function" and not (_narrow(node) or _as_method(node)):
            node.target = readable_target(node.target)
    module.recompile()
    LazyGraphModule.force_recompile(module)  # solvers keep its forward, which would ask at every call for what it is
    return module


def readable_copy(body: fx.GraphModule) -> fx.GraphModule:
    """`readable` of the calls of a body, which itself stays as it is."""
    graph = Graph.copy_of(body.graph)
    return readable(lazy_module(graph, "readable"))


def readable_target(target: Any) -> Any:
    """The function of `torch` or `torch.nn.functional`'s C bindings with the arguments of an ATen overload, if any."""
    if not isinstance(target, OpOverload) or target.namespace != "aten":
        return target
    if callable(like := _LIKE.get(target)):
        return like
    name = operator_name_of(target)
    if name in _KEPT or name.startswith("_") or _has_reduction(target):
        return target
    function = getattr(torch, name, None) or getattr(functions_of_layers, name, None)
    return function if isinstance(function, BuiltinFunctionType) else target


def _narrow(node: fx.Node) -> bool:
    """Make a slice that leaves out nothing between its ends a call of `torch.narrow`; whether it is one."""
    if node.target is not torch.ops.aten.slice.Tensor or node.kwargs or len(node.args) not in (3, 4):
        return False
    whole, dim, start = node.args[:3]
    shape, all_of = _shape(node), _shape(whole)
    if shape is None or all_of is None or not isinstance(dim, int) or not isinstance(start, int):
        return False
    if start < 0:
        start += all_of[dim]
    if not 0 <= start <= all_of[dim]:
        return False
    node.target, node.args = torch.narrow, (whole, dim, start, shape[dim])
    return True


def _as_method(node: fx.Node) -> bool:
    """Call a method of a tensor, where that takes the same arguments; whether there is one."""
    if _shape(next(iter(node.args), None)) is None:
        return False  # a number, for one, has none
    target: Any = node.target
    if isinstance(method := _LIKE.get(target), str):
        node.op, node.target = "call_method", method
        return True
    if target is not torch.ops.aten._to_copy.default or set(node.kwargs) != {"dtype"}:
        return False
    node.op, node.target, node.kwargs = "call_method", "to", {**node.kwargs, "copy": True}
    return True


def _shape(node: Any) -> torch.Size | None:
    """The shape of a value, if it is known for good."""
    known = node.meta.get("spec", node.meta.get("val")) if isinstance(node, fx.Node) else None
    shape = getattr(known, "shape", None)
    return shape if shape is not None and all(type(size) is int for size in shape) else None


def _has_reduction(target: OpOverload) -> bool:
    """Whether a loss may be left without its `reduction`, which is the mean for ATen and none for the bindings."""
    return any(argument.name == "reduction" for argument in schema_of(target).arguments)


# What a solver hands over may lie in memory in another way than what was recorded, and a view of it has to be a copy.
# Some are methods of tensors.
_LIKE: dict[OpOverload, Callable[..., Any] | str] = {
    torch.ops.aten.view.default: torch.reshape,
    torch.ops.aten._unsafe_view.default: torch.reshape,
    torch.ops.aten.expand.default: "expand",
    torch.ops.aten.new_zeros.default: "new_zeros",
    torch.ops.aten.contiguous.default: "contiguous",
    torch.ops.aten.mkldnn_rnn_layer.default: rnn_layer,
    torch.ops.aten.mkldnn_rnn_layer_backward.default: rnn_layer_backward,
}

# Their `torch` functions take other arguments than the ATen op, as no None among the indices of `index_put`, or mean
# another overload.
_KEPT = frozenset({"normal", "arange", "full", "zeros", "ones", "empty", "scalar_tensor", "index_put"})
