"""Several steps of a repeat in one graph, for a compiler to fuse."""

import torch
from torch import fx

from fxsolve.partitioner.batch import read_order
from fxsolve.partitioner.bodies import reorder_reads, takes_numbers
from fxsolve.system.nested import loops_inside
from fxsolve.system.spec import Lag, Prefix, Repeat, Stacked, Table


def can_unroll(repeat: Repeat) -> bool:
    """Whether the steps can be fused: lags of distance 1, tensors to read, no buffer that is read, no loop inside."""
    if loops_inside(repeat) or takes_numbers(repeat):
        return False
    placeholders = repeat.body.graph.find_nodes(op="placeholder")
    reads = list(zip(placeholders, repeat.reads, strict=True))
    carried = [read for _, read in reads if isinstance(read, Lag)]
    return (
        bool(carried)
        and all(read.distance == 1 for read in carried)
        and not any(isinstance(read, Table) for _, read in reads)
        and not any(isinstance(read, Prefix) and node.users for node, read in reads)
    )


def chunk_graph(repeat: Repeat, unroll: int) -> fx.GraphModule:
    """(states..., per_step (unroll, ...)..., shared...) -> (states behind, outputs of the body (unroll, ...)...)."""
    order = read_order(repeat.reads)
    step = reorder_reads(repeat, order)
    reads = [repeat.reads[j] for j in order]
    graph = fx.Graph()
    inputs = [None if isinstance(read, Prefix) else graph.placeholder(f"read{k}") for k, read in enumerate(reads)]
    lags = [k for k, read in enumerate(reads) if isinstance(read, Lag)]
    states = {k: inputs[k] for k in lags}
    rows: list[tuple[fx.Node, ...]] = []
    for t in range(unroll):
        arguments = [_argument(graph, reads[k], node, states.get(k), t) for k, node in enumerate(inputs)]
        rows.append(_copy_step(graph, step.graph, arguments))
        states = {k: rows[-1][reads[k].output] for k in lags}  # pyright: ignore[reportAttributeAccessIssue]
    stacks = [graph.call_function(torch.stack, (list(column),)) for column in zip(*rows, strict=True)]
    graph.output((*(states[k] for k in lags), *stacks))
    return fx.GraphModule({}, graph, class_name=f"{repeat.name}_chunk")


def _argument(graph: fx.Graph, read: object, node: fx.Node | None, state: fx.Node | None, t: int) -> fx.Node | None:
    if state is not None or node is None:
        return state
    per_step = isinstance(read, Stacked) or hasattr(read, "index")
    return graph.call_function(torch.select, (node, 0, t)) if per_step else node


def _copy_step(graph: fx.Graph, step: fx.Graph, arguments: list[fx.Node | None]) -> tuple[fx.Node, ...]:
    given = dict(zip(step.find_nodes(op="placeholder"), arguments, strict=True))
    return graph.graph_copy(step, given)  # pyright: ignore[reportArgumentType, reportReturnType]
