"""Readable targets: `torch.add(a, b)` instead of `torch.ops.aten.add.Tensor(a, b)`."""

from types import BuiltinFunctionType
from typing import Any

import torch
from torch import fx

from fxsolve.solvers.rnn_layer import rnn_layer, rnn_layer_backward
from fxsolve.torch_compat.graphs import Graph
from fxsolve.torch_compat.operators import OpOverload, functions_of_layers, operator_name_of, schema_of


def readable(module: fx.GraphModule) -> fx.GraphModule:
    """Call ATen ops through their `torch` functions, which run the same kernels and cost 1 us less a call."""
    for node in module.graph.nodes:
        if node.op == "call_function":
            node.target = readable_target(node.target)
    module.recompile()
    return module


def readable_copy(body: fx.GraphModule) -> fx.GraphModule:
    """`readable` of the calls of a body, which itself stays as it is."""
    graph = Graph()
    graph.output(graph.graph_copy(body.graph, {}))
    return readable(fx.GraphModule({}, graph))


def readable_target(target: Any) -> Any:
    """The function of `torch` or `torch.nn.functional`'s C bindings with the arguments of an ATen overload, if any."""
    if not isinstance(target, OpOverload) or target.namespace != "aten":
        return target
    if target in _LIKE:
        return _LIKE[target]
    name = operator_name_of(target)
    if name in _KEPT or name.startswith("_") or _has_reduction(target):
        return target
    function = getattr(torch, name, None) or getattr(functions_of_layers, name, None)
    return function if isinstance(function, BuiltinFunctionType) else target


def _has_reduction(target: OpOverload) -> bool:
    """Whether a loss may be left without its `reduction`, which is the mean for ATen and none for the bindings."""
    return any(argument.name == "reduction" for argument in schema_of(target).arguments)


# What a solver hands over may lie in memory in another way than what was recorded, and a view of it has to be a copy.
_LIKE = {
    torch.ops.aten.view.default: torch.reshape,
    torch.ops.aten._unsafe_view.default: torch.reshape,
    torch.ops.aten.mkldnn_rnn_layer.default: rnn_layer,
    torch.ops.aten.mkldnn_rnn_layer_backward.default: rnn_layer_backward,
}

# Their `torch` functions take other arguments than the ATen op, or mean another overload.
_KEPT = frozenset(
    {
        "slice",
        "copy",
        "view",
        "to",
        "expand",
        "normal",
        "arange",
        "full",
        "zeros",
        "ones",
        "empty",
        "scalar_tensor",
        "index_put",  # whose indices may be None
    }
)
