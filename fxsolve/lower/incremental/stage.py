"""One stage of a step: what it asks for, and its graph with that as inputs."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx

from fxsolve.lower.incremental.layout import form_at
from fxsolve.lower.incremental.places import Numbers, Places
from fxsolve.lower.incremental.regions import Region
from fxsolve.lower.incremental.tidy import tidy
from fxsolve.lower.incremental.values import StepFacts, StepValues, Supply
from fxsolve.lower.readable import readable
from fxsolve.lower.trace import trace
from fxsolve.solvers.incremental import Input, Stage
from fxsolve.torch_compat.batches import FakeTensorMode


@dataclass(frozen=True)
class Work:
    """The nodes that a stage computes, in order, each at its places; and the steps in which it runs.

    The last stage makes the `results`.
    """

    steps: tuple[int, ...]
    nodes: Mapping[fx.Node, Places]
    results: tuple[fx.Node, ...] = ()


@dataclass(frozen=True)
class Asked(Supply):
    """Notes what a stage asks for."""

    facts: StepFacts
    rows: dict[Hashable, Places] = field(default_factory=dict)
    constants: list[Numbers] = field(default_factory=list)

    def row(self, places: Places) -> Tensor:
        self.rows.setdefault(places.key, places)
        return _numbers(places.count, self.facts)

    def constant(self, numbers: Numbers) -> Tensor:
        self.constants.append(numbers)
        return _numbers(len(numbers), self.facts)

    def kept(self, node: fx.Node) -> Tensor:
        return _room(node, self.facts.regions[node])


@dataclass(frozen=True)
class _Handed(Supply):
    """Hands out the inputs of a graph, constants in the order in which they were asked for."""

    rows: Mapping[Hashable, Tensor]
    constants: list[Tensor]
    stores: Mapping[fx.Node, Tensor]

    def row(self, places: Places) -> Tensor:
        return self.rows[places.key]

    def constant(self, numbers: Numbers) -> Tensor:
        return self.constants.pop(0)

    def kept(self, node: fx.Node) -> Tensor:
        return self.stores[node]


def _numbers(count: int, facts: StepFacts) -> Tensor:
    return torch.empty(count, dtype=torch.int64, device=facts.device)


def _room(node: fx.Node, region: Region) -> Tensor:
    """(M + 1, ...), or (1, ...) where no dimension has places."""
    value = node.meta["val"]
    count = math.prod(value.shape[dim] for dim in region.dims) + bool(region.dims)
    return torch.empty(count, *form_at(value.shape, region.dims), dtype=value.dtype, device=value.device)


def _like(node: fx.Node) -> Tensor:
    value = node.meta["val"]
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=value.device)


def look(work: Work, facts: StepFacts, placeholders: Sequence[fx.Node]) -> tuple[StepValues, Asked]:
    """Find out which places and values a stage asks for."""
    store = Asked(facts)
    with FakeTensorMode():
        values = StepValues(facts, work.steps, store, {node: _like(node) for node in placeholders})
        for node, places in work.nodes.items():
            values.compute(node, places)
            store.row(places)
        for node in work.results:
            values.whole(node)
    return values, store


def write_stage(
    work: Work, asked: Asked, facts: StepFacts, placeholders: Sequence[fx.Node], kept: Sequence[fx.Node]
) -> Stage:
    """The graph of a stage, (kept..., rows..., constants..., placeholders...) -> results, less what nothing takes."""

    def run(*inputs: Tensor) -> tuple[Tensor, ...]:
        rest = iter(inputs)
        stores = {node: next(rest) for node in kept}
        rows = {key: next(rest) for key in asked.rows}
        constants = [next(rest) for _ in asked.constants]
        values = StepValues(
            facts, work.steps, _Handed(rows, constants, stores), dict(zip(placeholders, rest, strict=True))
        )
        for node, places in work.nodes.items():
            found = values.compute(node, places)
            if node in stores:
                stores[node].index_copy_(0, rows[places.key], found)
        return tuple(values.whole(node) for node in work.results)

    with FakeTensorMode():
        fakes = [_room(node, facts.regions[node]) for node in kept]
        fakes += [_numbers(places.count, facts) for places in asked.rows.values()]
        fakes += [_numbers(len(numbers), facts) for numbers in asked.constants]
        graph = trace(run, [*fakes, *map(_like, placeholders)])
    tidy(graph.graph)
    counts = (len(kept), len(asked.rows), len(asked.constants), len(placeholders))
    kinds = ("kept", "row", "constant", "given")
    slots = [Input(kind, k) for kind, count in zip(kinds, counts, strict=True) for k in range(count)]
    used = _drop_unused(graph, slots)
    tables = [torch.from_numpy(places.table).to(facts.device) for places in asked.rows.values()]
    constants = [torch.from_numpy(numbers).to(facts.device) for numbers in asked.constants]
    return Stage(readable(graph), work.steps, used, tables, constants)


def _drop_unused(graph: fx.GraphModule, slots: Sequence[Input]) -> list[Input]:
    """Leave out the inputs that nothing takes; the others, in their order."""
    pairs = list(zip(slots, graph.graph.find_nodes(op="placeholder"), strict=True))
    for _, node in pairs:
        if not node.users:
            graph.graph.erase_node(node)
    graph.recompile()
    left = set(graph.graph.find_nodes(op="placeholder"))
    return [slot for slot, node in pairs if node in left]
