"""Functions of stacks as graphs: for the number of blocks that they were traced with, or for any."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from fxsolve.errors import PartitionError
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.lower.batch import drop_unit_factors
from fxsolve.lower.readable import readable
from fxsolve.lower.trace import trace
from fxsolve.torch_compat.batches import FakeTensorMode
from fxsolve.torch_compat.graphs import Graph
from fxsolve.torch_compat.trees import pytree

Stacked = Callable[..., tuple[Tensor, ...]]
_COUNTS = (5, 7)  # blocks; a size that is 5 times a number here and 7 times that there is no accident


def traced(function: Stacked, specs: Sequence[TensorSpec]) -> fx.GraphModule:
    """The graph of a function of tensors that look like `specs`; `PartitionError` where it cannot be batched."""
    return readable(_traced(function, specs))


def traced_for_any(function: Stacked, specs_of: Callable[[int], Sequence[TensorSpec]]) -> fx.GraphModule:
    """(count, tensors) -> what a function makes of stacks of so many, which look like `specs_of(count)`.

    Two graphs are compared: a number that differs between them is a multiple of the count.
    """
    one, other = (_traced(function, specs_of(count)) for count in _COUNTS)
    graph, copied = Graph(), {}
    count = graph.placeholder("count")
    if len(one.graph.nodes) != len(other.graph.nodes):
        raise PartitionError("they are batched in another way for each number of them")
    for node, like in zip(one.graph.nodes, other.graph.nodes, strict=True):
        (args, kwargs) = _counted(graph, count, node, like)
        args, kwargs = fx.map_arg((args, kwargs), lambda source: copied.get(source, source))
        copied[node] = graph.create_node(node.op, node.target, args, kwargs, node.name)
    return readable(fx.GraphModule({}, graph))


def _counted(graph: fx.Graph, count: fx.Node, node: fx.Node, like: fx.Node) -> Any:
    """The arguments of a call with what grows with the count as a multiple of it."""
    leaves, form = pytree.tree_flatten((node.args, node.kwargs))
    others = pytree.tree_leaves((like.args, like.kwargs))
    if node.target != like.target or len(leaves) != len(others):
        raise PartitionError("they are batched in another way for each number of them")
    made = [_number(graph, count, one, other) for one, other in zip(leaves, others, strict=True)]
    return pytree.tree_unflatten(made, form)


def _number(graph: fx.Graph, count: fx.Node, one: Any, other: Any) -> Any:
    if isinstance(one, fx.Node) or one == other:
        return one
    factor = one // _COUNTS[0] if isinstance(one, int) else 0
    if (one, other) != tuple(factor * number for number in _COUNTS):
        raise PartitionError("they are batched in another way for each number of them")
    return graph.call_function(operator.mul, (count, factor))


def _traced(function: Stacked, specs: Sequence[TensorSpec]) -> fx.GraphModule:
    with torch.no_grad(), FakeTensorMode():
        try:
            module = trace(function, list(map(fake, specs)))
        except (RuntimeError, NotImplementedError, ValueError) as error:
            raise PartitionError(f"they cannot be batched: {str(error).strip().splitlines()[0]}") from error
    drop_unit_factors(module.graph)
    module.graph.eliminate_dead_code()
    return module


def fake(spec: TensorSpec) -> Tensor:
    """A tensor like a spec; without values, where tensors have none."""
    return torch.empty_strided(spec.shape, spec.stride, dtype=spec.dtype, device=spec.device)
