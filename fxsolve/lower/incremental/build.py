"""From a repeat to the stages that compute each entry of its steps once, planned from the results back."""

from collections.abc import Mapping

import torch
from torch import fx

from fxsolve.ir.reads import read_order
from fxsolve.ir.spec import Lag, Prefix, Repeat
from fxsolve.ir.tables import device_of
from fxsolve.lower.incremental import final
from fxsolve.lower.incremental.moves import MovedFrom
from fxsolve.lower.incremental.needed import needed_entries
from fxsolve.lower.incremental.places import Places
from fxsolve.lower.incremental.regions import Region, find_regions
from fxsolve.lower.incremental.rules import RULES
from fxsolve.lower.incremental.stage import FIRST, Work, look, write_stage, write_start
from fxsolve.lower.incremental.step import step_graph
from fxsolve.lower.incremental.timing import Deadlines, in_stages
from fxsolve.lower.incremental.values import StepFacts
from fxsolve.lower.incremental.widths import by_width
from fxsolve.solvers.incremental import StepProgram
from fxsolve.solvers.step_order import OneByOne, StepOrder


def incremental_program(repeat: Repeat, structural: final.Structural, order: StepOrder | None = None) -> StepProgram:
    """The stages of the steps of a repeat; `structural` is what is the same in every run, for the zeros of masks.

    Without an `order` they are computed one by one.

    Raises `PartitionError` where a step cannot be traced.
    """
    order = order or OneByOne(repeat.length)
    step = step_graph(repeat, order.together)
    labels = final.final_labels(repeat, step, structural, order)
    regions = find_regions(step, labels, needed_entries(step, labels), len(order.runs))
    facts = StepFacts(RULES, MovedFrom(labels), regions, device_of(repeat))
    placeholders = step.graph.find_nodes(op="placeholder")
    given = [placeholders[j] for j in read_order(repeat.reads)]
    with torch.no_grad():
        first, works = _plan(repeat, step, order, regions, facts)
        seen = [look(work, facts) for work in works]
        taken = {node for values, _ in seen for node, _ in values.taken}
        kept = [node for node in regions if node in taken]
        pairs = zip(works, seen, strict=True)
        stages = [write_stage(work, asked, facts, given, kept) for work, (_, asked) in pairs]
        start = write_start(first, look(first, facts)[1], facts, given, kept)
    held = [node.meta["val"] for node in kept] + [one for stage in (start, *stages) for one in stage.held]
    memory = sum(one.numel() * one.element_size() for one in held)
    return StepProgram(start, stages, order, tuple(_carried(repeat, step)), memory, tuple(sorted(facts.whole_ops)))


def _carried(repeat: Repeat, step: fx.GraphModule) -> dict[int, fx.Node]:
    """The outputs that steps read from one another, by number."""
    results = step.graph.output_node().args[0]
    assert isinstance(results, tuple)
    numbers = sorted({read.output for read in repeat.reads if isinstance(read, Lag | Prefix)})
    return {number: node for number in numbers if isinstance(node := results[number], fx.Node)}


def _plan(
    repeat: Repeat, step: fx.GraphModule, order: StepOrder, regions: dict[fx.Node, Region], facts: StepFacts
) -> tuple[Work, list[Work]]:
    """What the first step computes, and each other one; deadlines go from each node to those that it reads.

    Changes `regions`.
    """
    deadlines = {node: Deadlines(region) for node, region in regions.items()}
    outputs = tuple(_carried(repeat, step).values())
    works: dict[fx.Node | None, Work] = {None: Work(tuple(order.later), {}, outputs)}
    read: dict[fx.Node | None, set[fx.Node]] = {None: _note(works[None], deadlines, facts)}
    _note(Work(FIRST, {}, outputs), deadlines, facts)
    begun: dict[fx.Node, Places] = {}
    for node in reversed(list(regions)):
        found = deadlines[node].along_fewer(node.meta["val"].shape)
        before = deadlines[node].before_all(found.region)
        regions[node] = found.region
        places, steps = found.schedule(order)
        if steps:
            work = works[node] = Work(steps, {node: places})
            read[node] = _note(work, deadlines, facts)
        if before is not None:
            begun[node] = before
            _note(Work(FIRST, {node: before}), deadlines, facts)
    return Work(FIRST, dict(reversed(begun.items())), outputs), by_width(in_stages(works, read))


def _note(work: Work, deadlines: Mapping[fx.Node, Deadlines], facts: StepFacts) -> set[fx.Node]:
    """The nodes that a stage reads, whose deadlines it sets."""
    values, _ = look(work, facts)
    for node, places in values.taken:
        if places is None:
            deadlines[node].read_all(work.steps)
        else:
            deadlines[node].read(places, work.steps)
    return {node for node, _ in values.taken}
