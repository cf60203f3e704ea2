"""A step of a repeat made ready for labels: values without memory, and labels along one of their dimensions."""

import math
from typing import Any

import torch
from torch import Tensor, fx

from fxsolve.ir.meta import empty_like_spec
from fxsolve.ir.spec import Repeat
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.ops.domains.entries import Entries, unknown
from fxsolve.torch_compat.graphs import Graph, lazy_module

MOST_LABELS = 2**24  # entries of all values of a body together


def values_in(repeat: Repeat) -> int:
    """The number of entries of all values of a step."""
    specs = [node.meta.get("spec") for node in repeat.body.graph.nodes]
    return sum(math.prod(spec.shape) for spec in specs if isinstance(spec, TensorSpec))


def with_examples(body: fx.GraphModule) -> fx.GraphModule:
    """A copy of a body whose nodes have an example value without memory, as the interpreter of labels expects."""
    graph = Graph()
    copied: dict[fx.Node, fx.Node] = {}
    for node in body.graph.nodes:
        if node.op == "output":
            graph.output(tuple(copied[result] for result in node.args[0]))
            continue
        copied[node] = graph.node_copy(node, lambda source: copied[source])
        copied[node].meta["val"] = empty_like_spec(node.meta.get("spec"))
    return lazy_module(graph, "labelled")


def along(ranks: Tensor, shape: Any, dim: int) -> Tensor:
    """Labels that are the place of each entry along one dimension."""
    return ranks.view([-1 if k == dim else 1 for k in range(len(shape))]).expand(shape)


def unlabelled(node: fx.Node, device: torch.device) -> Entries:
    """A read that carries no label, whatever it holds: no zero in it counts. Tables are single numbers."""
    example = node.meta.get("val")
    return unknown(() if example is None else example.shape, device=device)
