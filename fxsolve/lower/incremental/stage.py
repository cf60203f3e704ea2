"""One stage of a step: what it asks for, and its graph with that as inputs."""

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx

from fxsolve.lower.incremental.layout import form_at, places_first
from fxsolve.lower.incremental.places import Numbers, Places
from fxsolve.lower.incremental.regions import Region
from fxsolve.lower.incremental.tidy import tidy
from fxsolve.lower.incremental.values import StepFacts, StepValues, Supply
from fxsolve.lower.readable import readable
from fxsolve.lower.trace import trace
from fxsolve.solvers.incremental import Input, Stage
from fxsolve.torch_compat.batches import FakeTensorMode
from fxsolve.torch_compat.dispatch import OnMeta

FIRST = (0,)  # the steps of the stage that comes first


@dataclass(frozen=True)
class Work:
    """The nodes that a stage computes, in order, each at its places; and the steps in which it runs.

    The last stage of each step makes the `results`.
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
    masks: list[Numbers] = field(default_factory=list)

    def row(self, places: Places) -> Tensor:
        self.rows.setdefault(places.key, places)
        return _numbers(places.count, self.facts)

    def constant(self, numbers: Numbers) -> Tensor:
        self.constants.append(numbers)
        return _numbers(len(numbers), self.facts)

    def seen(self, table: Numbers) -> Tensor:
        self.masks.append(table)
        return _mask(table, self.facts)

    def kept(self, node: fx.Node) -> Tensor:
        return _room(node, self.facts.regions[node])


@dataclass(frozen=True)
class _Handed(Supply):
    """Hands out the inputs of a graph, constants in the order in which they were asked for."""

    rows: Mapping[Hashable, Tensor]
    constants: list[Tensor]
    masks: list[Tensor]
    stores: dict[fx.Node, Tensor]

    def row(self, places: Places) -> Tensor:
        return self.rows[places.key]

    def constant(self, numbers: Numbers) -> Tensor:
        return self.constants.pop(0)

    def seen(self, table: Numbers) -> Tensor:
        return self.masks.pop(0)

    def kept(self, node: fx.Node) -> Tensor:
        return self.stores[node]


@dataclass(frozen=True)
class _Begun(_Handed):
    """Holds what the first step computes, and room for all that later ones do."""

    facts: StepFacts

    def begin(self, node: fx.Node, places: Places, found: Tensor) -> None:
        """Keep what is computed at places, or as a whole.

        What other places hold until they are computed is hidden behind masks, which not every number passes: it is
        what the last of these places holds, which sees most of them, and not zeros, by which anything might divide.
        """
        dims, room = self.facts.regions[node].dims, _room(node, self.facts.regions[node])
        if not dims:
            self.stores[node] = found
        elif places.dims:
            entries = found[-1:].expand(len(room) - 1, *room.shape[1:]).index_copy(0, self.row(places), found)
            self.stores[node] = _with_zeros(entries)
        else:
            self.stores[node] = _with_zeros(places_first(found[0], dims).reshape(-1, *room.shape[1:]))

    def kept(self, node: fx.Node) -> Tensor:
        if node not in self.stores:
            self.stores[node] = torch.zeros_like(_room(node, self.facts.regions[node]))
        return self.stores[node]


def _with_zeros(entries: Tensor) -> Tensor:
    """(M, ...) with zeros behind them, (M + 1, ...)."""
    return torch.cat([entries, entries.new_zeros(1, *entries.shape[1:])])


def _numbers(count: int, facts: StepFacts) -> Tensor:
    return torch.empty(count, dtype=torch.int64, device=facts.device)


def _mask(table: Numbers, facts: StepFacts) -> Tensor:
    return torch.empty(table.shape[1:], dtype=torch.bool, device=facts.device)


def _room(node: fx.Node, region: Region) -> Tensor:
    """(M + 1, ...), or (1, ...) where no dimension has places."""
    value = node.meta["val"]
    count = math.prod(value.shape[dim] for dim in region.dims) + bool(region.dims)
    return torch.empty(count, *form_at(value.shape, region.dims), dtype=value.dtype, device=value.device)


def _like(node: fx.Node) -> Tensor:
    value = node.meta["val"]
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=value.device)


class _WhenAsked(dict[fx.Node, Tensor]):
    """What a step is given, made when it is asked for: most stages read little of it."""

    def __missing__(self, node: fx.Node) -> Tensor:
        self[node] = _like(node)
        return self[node]


def look(work: Work, facts: StepFacts) -> tuple[StepValues, Asked]:
    """Find out which places and values a stage asks for."""
    store = Asked(facts)
    with OnMeta():
        values = StepValues(facts, work.steps, store, _WhenAsked())
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
        store = _Handed(*_handed(rest, asked), stores)
        values = StepValues(facts, work.steps, store, dict(zip(placeholders, rest, strict=True)))
        for node, places in work.nodes.items():
            found = values.compute(node, places)
            if node in stores:
                stores[node].index_copy_(0, store.row(places), found)
        return tuple(values.whole(node) for node in work.results)

    return _traced(run, work, asked, facts, placeholders, kept)


def write_start(
    work: Work, asked: Asked, facts: StepFacts, placeholders: Sequence[fx.Node], kept: Sequence[fx.Node]
) -> Stage:
    """The graph of the first step, (rows..., constants..., placeholders...) -> (results..., kept...)."""

    def run(*inputs: Tensor) -> tuple[Tensor, ...]:
        rest = iter(inputs)
        store = _Begun(*_handed(rest, asked), {}, facts)
        values = StepValues(facts, work.steps, store, dict(zip(placeholders, rest, strict=True)))
        for node, places in work.nodes.items():
            store.begin(node, places, values.compute(node, places))
        return (*(values.whole(node) for node in work.results), *map(store.kept, kept))

    return _traced(run, work, asked, facts, placeholders, ())


def _handed(inputs: Iterator[Tensor], asked: Asked) -> tuple[dict[Hashable, Tensor], list[Tensor], list[Tensor]]:
    rows = {key: next(inputs) for key in asked.rows}
    return rows, [next(inputs) for _ in asked.constants], [next(inputs) for _ in asked.masks]


def _traced(
    run: Callable[..., tuple[Tensor, ...]],
    work: Work,
    asked: Asked,
    facts: StepFacts,
    placeholders: Sequence[fx.Node],
    kept: Sequence[fx.Node],
) -> Stage:
    with FakeTensorMode():
        fakes = [_room(node, facts.regions[node]) for node in kept]
        fakes += [_numbers(places.count, facts) for places in asked.rows.values()]
        fakes += [_numbers(len(numbers), facts) for numbers in asked.constants]
        fakes += [_mask(table, facts) for table in asked.masks]
        graph = trace(run, [*fakes, *map(_like, placeholders)])
    tidy(graph.graph)
    tables = [*(places.table for places in asked.rows.values()), *asked.masks]
    slots = [
        *(Input("kept", k) for k in range(len(kept))),
        *(Input("row", k) for k in range(len(asked.rows))),
        *(Input("constant", k) for k in range(len(asked.constants))),
        *(Input("seen", k) for k in range(len(asked.rows), len(tables))),
        *(Input("given", k) for k in range(len(placeholders))),
    ]
    used = _drop_unused(graph, slots)
    constants = _on(facts.device, asked.constants)
    return Stage(readable(graph), work.steps, used, _on(facts.device, tables), constants)


def _on(device: torch.device, numbers: Sequence[Numbers]) -> list[Tensor]:
    return [torch.from_numpy(one).to(device) for one in numbers]


def _drop_unused(graph: fx.GraphModule, slots: Sequence[Input]) -> list[Input]:
    """Leave out the inputs that nothing takes; the others, in their order."""
    pairs = list(zip(slots, graph.graph.find_nodes(op="placeholder"), strict=True))
    for _, node in pairs:
        if not node.users:
            graph.graph.erase_node(node)
    graph.recompile()
    left = set(graph.graph.find_nodes(op="placeholder"))
    return [slot for slot, node in pairs if node in left]
