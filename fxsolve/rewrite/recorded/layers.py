"""Fused layers that are called with more and more rows are written as what they compute.

A text that grows goes through the same layer again and again, with one token more each time: of its parts, rules tell
what they make of a buffer of the final size. A layer that is called with one size alone stays one call.
"""

import operator
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor, fx

from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.lower.decompose import parts_of
from fxsolve.lower.trace import trace
from fxsolve.ops.access import AttentionLayer
from fxsolve.ops.call import bind
from fxsolve.ops.facts import access_of
from fxsolve.torch_compat.graphs import Graph, find_calls
from fxsolve.torch_compat.operators import OpOverload


def open_layers(graph: fx.Graph) -> fx.Graph:
    """A copy of `graph` with the parts of such layers; the graph itself if there are none."""
    if not _growing(graph):
        return graph
    copied = Graph.copy_of(graph)
    examples: dict[object, Tensor] = {}
    for node in _growing(copied):
        _open(copied, node, examples)
    return copied


def _growing(graph: fx.Graph) -> list[fx.Node]:
    """The calls of layers by their weights, of those that are called with several sizes."""
    calls: dict[tuple[object, ...], list[fx.Node]] = defaultdict(list)
    for node in find_calls(graph, lambda target: access_of(target) == AttentionLayer()):
        assert isinstance(node.target, OpOverload)
        call = bind(node.target, node.args, node.kwargs, None)
        calls[node.target, *(call[name] for name in call.arguments if "weight" in name)].append(node)
    sizes = {key: {node.all_input_nodes[0].meta["spec"].shape for node in nodes} for key, nodes in calls.items()}
    return [node for key, nodes in calls.items() if len(sizes[key]) > 1 for node in nodes]


def _open(graph: fx.Graph, call: fx.Node, examples: dict[object, Tensor]) -> None:
    """Write what a layer computes in its place."""
    given = call.all_input_nodes
    traced = _traced(call, [_example(node.meta["spec"], examples) for node in given])
    made: dict[fx.Node, fx.Node] = dict(zip(traced.find_nodes(op="placeholder"), given, strict=True))
    with graph.inserting_before(call):
        for node in traced.nodes:
            if node.op not in ("placeholder", "output"):
                made[node] = graph.node_copy(node, made.__getitem__)
                made[node].meta = {**call.meta, "spec": node.meta["spec"]}
    results = [made[one] for one in traced.output_node().args[0]]  # pyright: ignore
    for user in list(call.users):
        if user.target is operator.getitem:
            user.replace_all_uses_with(results[user.args[1]])  # pyright: ignore
            graph.erase_node(user)
    call.replace_all_uses_with(results[0])
    graph.erase_node(call)
    for node in reversed(made.values()):
        if not node.users and node not in given:
            graph.erase_node(node)


def _traced(call: fx.Node, examples: Sequence[Tensor]) -> fx.Graph:
    """The parts of a call on tensors like its own; values that are not real would cost more than these do."""
    assert isinstance(call.target, OpOverload)
    parts = parts_of(call.target)
    assert parts is not None

    def run(*tensors: Tensor) -> tuple[Tensor, ...]:
        values = dict(zip(call.all_input_nodes, tensors, strict=True))
        results = parts(*fx.map_arg(call.args, values.__getitem__))
        return results if isinstance(results, tuple) else (results,)

    with torch.no_grad():
        return trace(run, examples).graph


def _example(spec: TensorSpec, examples: dict[object, Tensor]) -> Tensor:
    """Zeros that lie in memory as a tensor does, made once for all that are alike; a new object each time."""
    if spec not in examples:
        examples[spec] = torch.empty_strided(spec.shape, spec.stride, dtype=spec.dtype, device=spec.device).zero_()
    return examples[spec].view_as(examples[spec])
