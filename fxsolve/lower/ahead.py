"""Several steps of a repeat that stops on a value in one graph, with what each of them reads to go on."""

from typing import Any

import torch
from torch import fx

from fxsolve.ir.nested import loops_inside
from fxsolve.ir.reads import read_order, reorder_reads
from fxsolve.ir.spec import AllSteps, Invariant, Lag, LastStep, Repeat, Until
from fxsolve.lower.unroll import copy_step
from fxsolve.ops.call import bind
from fxsolve.ops.exact import is_exact
from fxsolve.ops.facts import name_of
from fxsolve.torch_compat.graphs import Graph
from fxsolve.torch_compat.operators import OpOverload

aten = torch.ops.aten


def no_look_ahead(repeat: Repeat) -> str | None:
    """Why steps behind the next one cannot be computed before it is known whether there are any."""
    if not isinstance(repeat.until, Until):
        return "how many steps there are is known before they run"
    if loops_inside(repeat):
        return "its steps run loops"
    if not all(isinstance(read, (Lag, Invariant)) for read in repeat.reads):
        return "its steps read more than the steps before and what is the same for all"
    specs = [node.meta.get("spec") for node in repeat.body.graph.find_nodes(op="placeholder")]
    if any(spec is None or spec.device.type != "cpu" for spec in specs):
        return "its steps read numbers, or run on a device where compiled steps round in another way"
    results: Any = repeat.body.graph.output_node().args[0]
    if not all(results[number].meta["spec"].dtype is torch.bool for number in _read(repeat.until)):
        return "what it stops on is not a bool"
    return None


def outputs_kept(repeat: Repeat) -> tuple[int, ...]:
    """The outputs that are wanted of every step: later steps read them, or they are results."""
    lags = (read.output for read in repeat.reads if isinstance(read, Lag))
    written = (write.output for write in repeat.writes if isinstance(write, (AllSteps, LastStep)))
    return tuple(dict.fromkeys((*lags, *written)))


def own_ops(repeat: Repeat) -> frozenset[str]:
    """The names of ops of a step that round in an order of their own: only ATen's kernels give the program's bits."""
    return frozenset(
        name_of(node.target)
        for node in repeat.body.graph.nodes
        if isinstance(node.target, OpOverload)
        and not is_exact(node.target, bind(node.target, node.args, node.kwargs, None).arguments, _dtype(node))
    )


def ahead_graph(repeat: Repeat, steps: int) -> fx.GraphModule:
    """(values of the lags, each oldest first..., shared...) -> (outputs_kept of each step..., reads).

    `reads` (steps * n,) are the n values of each step that decide how it goes on: the condition, then the checks.
    """
    assert isinstance(repeat.until, Until)
    order = read_order(repeat.reads)
    step = reorder_reads(repeat, order)
    graph = Graph()
    reads = [repeat.reads[j] for j in order]
    past = {k: _past(graph, k, read) for k, read in enumerate(reads) if isinstance(read, Lag)}
    shared = {k: graph.placeholder(f"read{k}") for k, read in enumerate(reads) if isinstance(read, Invariant)}
    kept: list[fx.Node] = []
    decisions: list[fx.Node] = []
    for _ in range(steps):
        outputs = copy_step(graph, step.graph, [past[k][0] if k in past else shared[k] for k in range(len(reads))])
        for k, read in enumerate(reads):
            if isinstance(read, Lag):
                past[k] = [*past[k][1:], outputs[read.output]]
        kept += [outputs[number] for number in outputs_kept(repeat)]
        decisions += [graph.call_function(aten.view.default, (outputs[k], [1])) for k in _read(repeat.until)]
    graph.output((*kept, graph.call_function(aten.cat.default, (decisions,))))
    return fx.GraphModule({}, graph, class_name=f"{repeat.name}_ahead")


def _read(until: Until) -> tuple[int, ...]:
    return until.output, *(number for number, _ in until.checks)


def _past(graph: fx.Graph, number: int, read: Lag) -> list[fx.Node]:
    return [graph.placeholder(f"read{number}_{k}") for k in range(read.distance)]


def _dtype(node: fx.Node) -> torch.dtype:
    spec = node.meta.get("spec")
    return getattr(spec, "dtype", torch.bool)
