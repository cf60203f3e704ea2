"""From a repeat to the stages that compute each entry of its steps once, planned from the results back."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, fx

from fxsolve.ir.calls import aten
from fxsolve.ir.reads import read_order
from fxsolve.ir.spec import Lag, Prefix, Repeat
from fxsolve.ir.tables import device_of
from fxsolve.lower.incremental import final
from fxsolve.lower.incremental.layout import form_at
from fxsolve.lower.incremental.moves import MovedFrom
from fxsolve.lower.incremental.needed import needed_entries
from fxsolve.lower.incremental.regions import Region, find_regions
from fxsolve.lower.incremental.rules import RULES
from fxsolve.lower.incremental.stage import Work, look, write_stage
from fxsolve.lower.incremental.step import step_graph
from fxsolve.lower.incremental.timing import Deadlines, in_stages
from fxsolve.lower.incremental.values import StepFacts
from fxsolve.lower.readable import readable
from fxsolve.solvers.incremental import StepProgram
from fxsolve.torch_compat.graphs import Graph


def incremental_program(repeat: Repeat, structural: final.Structural) -> StepProgram:
    """The stages of the steps of a repeat; `structural` is what is the same in every run, for the zeros of masks.

    Raises `PartitionError` where a step cannot be traced.
    """
    step = step_graph(repeat)
    labels = final.final_labels(repeat, step, structural)
    regions = find_regions(step, labels, needed_entries(step, labels), repeat.length)
    facts = StepFacts(RULES, MovedFrom(labels), regions, device_of(repeat))
    placeholders = step.graph.find_nodes(op="placeholder")
    order = read_order(repeat.reads)
    given = [placeholders[j] for j in order]
    with torch.no_grad():
        works = _plan(repeat, step, regions, facts, given)
        seen = [look(work, facts, given) for work in works]
        taken = {node for values, _ in seen for node, _ in values.taken}
        kept = [node for node in regions if node in taken]
        pairs = zip(works, seen, strict=True)
        stages = [write_stage(work, asked, facts, given, kept) for work, (_, asked) in pairs]
    outputs = _carried(repeat, step)
    start = _start(step, given, list(outputs.values()), {node: regions[node] for node in kept})
    memory = sum(node.meta["val"].numel() * node.meta["val"].element_size() for node in kept)
    return StepProgram(start, stages, tuple(outputs), memory, tuple(sorted(facts.whole_ops)))


def _carried(repeat: Repeat, step: fx.GraphModule) -> dict[int, fx.Node]:
    """The outputs that steps read from one another, by number."""
    results = step.graph.output_node().args[0]
    assert isinstance(results, tuple)
    numbers = sorted({read.output for read in repeat.reads if isinstance(read, Lag | Prefix)})
    return {number: node for number in numbers if isinstance(node := results[number], fx.Node)}


def _plan(
    repeat: Repeat, step: fx.GraphModule, regions: dict[fx.Node, Region], facts: StepFacts, given: Sequence[fx.Node]
) -> list[Work]:
    """What each step computes; deadlines go from each node to those that it reads. Changes `regions`."""
    deadlines = {node: Deadlines(region) for node, region in regions.items()}
    results = Work(tuple(range(1, repeat.length)), {}, tuple(_carried(repeat, step).values()))
    works: dict[fx.Node | None, Work] = {None: results}
    read: dict[fx.Node | None, set[fx.Node]] = {None: _note(results, deadlines, facts, given)}
    for node in reversed(list(regions)):
        found = deadlines[node].along_fewer(node.meta["val"].shape)
        regions[node] = found.region
        places, steps = found.schedule()
        if steps:
            work = works[node] = Work(steps, {node: places})
            read[node] = _note(work, deadlines, facts, given)
    return in_stages(works, read)


def _note(
    work: Work, deadlines: Mapping[fx.Node, Deadlines], facts: StepFacts, given: Sequence[fx.Node]
) -> set[fx.Node]:
    """The nodes that a stage reads, whose deadlines it sets."""
    values, _ = look(work, facts, given)
    for node, places in values.taken:
        if places is None:
            deadlines[node].read_all(work.steps)
        else:
            deadlines[node].read(places, work.steps)
    return {node for node, _ in values.taken}


def _start(
    step: fx.GraphModule, given: Sequence[fx.Node], results: Sequence[fx.Node], kept: Mapping[fx.Node, Region]
) -> fx.GraphModule:
    """The first step, which leaves everything that is final before it, and room for all the rest."""
    graph = Graph()
    copied = {node: graph.node_copy(node) for node in given}
    graph.graph_copy(step.graph, copied)
    rooms = [_kept(graph, copied[node], node.meta["val"], region.dims) for node, region in kept.items()]
    graph.output((*(copied[node] for node in results), *rooms))
    module = fx.GraphModule({}, graph)
    module.graph.eliminate_dead_code()
    module.recompile()
    return readable(module)


def _kept(graph: fx.Graph, node: fx.Node, value: Tensor, dims: Sequence[int]) -> fx.Node:
    """A value with places first, and zeros behind them."""
    if not dims:
        return graph.call_function(aten.unsqueeze.default, (node, 0))
    form = form_at(value.shape, dims)
    moved = graph.call_function(aten.movedim.intlist, (node, list(dims), list(range(len(dims)))))
    flat = graph.call_function(aten.reshape.default, (moved, [-1, *form]))
    zeros = graph.call_function(aten.new_zeros.default, (flat, [1, *form]))
    return graph.call_function(aten.cat.default, ([flat, zeros],))
