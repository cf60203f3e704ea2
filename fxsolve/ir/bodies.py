"""A repeat opened for editing: its graph, what each placeholder reads, and what is wanted of it."""

from collections.abc import Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from torch import fx

from fxsolve.ir.spec import AllSteps, Count, FinalBuffer, Lag, LastStep, Prefix, Read, Repeat, Write
from fxsolve.ir.tensor_spec import UNKNOWN
from fxsolve.ir.until import Along, Until
from fxsolve.torch_compat.graphs import Graph, lazy_module


def add_placeholder(graph: fx.Graph, name: str, spec: object) -> fx.Node:
    """A new placeholder behind the existing ones, in front of all calls."""
    first = next((node for node in graph.nodes if node.op != "placeholder"), None)
    with graph.inserting_before(first) if first is not None else nullcontext():
        node = graph.placeholder(name)
    node.target = node.name  # the generated code calls the argument by its target, which must be unique too
    if spec is not UNKNOWN:
        node.meta["spec"] = spec
    return node


@dataclass(frozen=True)
class OpenUntil:
    """As `Until`, with nodes for numbers of outputs."""

    condition: fx.Node
    stops: bool
    before: str = ""
    checks: tuple[tuple[fx.Node, bool], ...] = ()
    least: int = 0
    fewest: int = 0

    def nodes(self) -> tuple[fx.Node, ...]:
        return (self.condition, *(node for node, _ in self.checks))

    def close(self, number: Mapping[fx.Node, int]) -> Until:
        checks = tuple((number[node], value) for node, value in self.checks)
        return Until(number[self.condition], self.stops, self.before, checks, self.least, self.fewest)


@dataclass
class OpenRepeat:
    """An editable repeat. Outputs are nodes, not numbers, so that passes may add and drop them freely.

    `reads` maps each placeholder to its read. `lags` and `writes` refer to outputs by node.
    """

    name: str
    length: int
    source: str
    graph: fx.Graph
    reads: dict[fx.Node, Read] = field(default_factory=dict)
    feeds: dict[fx.Node, fx.Node] = field(default_factory=dict)  # placeholder of a lag or prefix -> node that feeds it
    steps: dict[str, fx.Node] = field(default_factory=dict)  # name of an `AllSteps` write -> node
    lasts: dict[str, fx.Node] = field(default_factory=dict)  # name of a `LastStep` write -> node
    finals: dict[str, fx.Node] = field(default_factory=dict)  # name of a `FinalBuffer` write -> its placeholder
    counts: dict[str, Count] = field(default_factory=dict)
    until: OpenUntil | Along | None = None

    def add_read(self, name: str, read: Read, spec: object) -> fx.Node:
        """A new placeholder behind the existing ones."""
        node = add_placeholder(self.graph, name, spec)
        self.reads[node] = read
        return node

    def replace(self, old: fx.Node, new: fx.Node) -> None:
        """Use `new` wherever the body, or anyone outside of it, used `old`; drop `old`."""
        old.replace_all_uses_with(new)
        for results in (self.feeds, self.steps, self.lasts):
            for key, node in results.items():
                if node is old:
                    results[key] = new  # pyright: ignore[reportArgumentType]
        self.graph.erase_node(old)

    def is_wanted(self) -> bool:
        """Whether anyone reads a result."""
        return bool(self.steps or self.lasts or self.finals or self.counts)

    def written_carries(self) -> list[tuple[fx.Node, Lag, fx.Node]]:
        """(placeholder, its read, what feeds it) for each lag of one step whose next value nothing else reads."""
        fed = list(self.feeds.values())
        return [
            (placeholder, read, self.feeds[placeholder])
            for placeholder, read in self.reads.items()
            if isinstance(read, Lag)
            and read.distance == 1
            and not self.feeds[placeholder].users
            and self.feeds[placeholder] not in self.steps.values()
            and fed.count(self.feeds[placeholder]) == 1
        ]

    def computed(self) -> list[fx.Node]:
        """The call nodes of the body, in order."""
        return [node for node in self.graph.nodes if node.op == "call_function"]

    def copy_calls(
        self, calls: Collection[fx.Node], graph: fx.Graph, reads: Mapping[fx.Node, fx.Node]
    ) -> dict[fx.Node, fx.Node]:
        """Copy some of the calls to another graph; returns `reads`, the copies of what they read, with theirs."""
        copied = dict(reads)
        for node in self.computed():
            if node in calls:
                copied[node] = graph.node_copy(node, copied.__getitem__)
        return copied


def open_repeat(repeat: Repeat) -> OpenRepeat:
    """A copy of `repeat` that can be edited; the repeat itself stays as it is."""
    graph = Graph()
    outputs: Any = graph.graph_copy(repeat.body.graph, {})
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    opened = OpenRepeat(repeat.name, repeat.length, repeat.source, graph)
    for node, read in zip(placeholders, repeat.reads, strict=True):
        opened.reads[node] = read
        if isinstance(read, (Lag, Prefix)):
            opened.feeds[node] = outputs[read.output]
    until = repeat.until
    if isinstance(until, Along):
        opened.until = until
    elif until is not None:
        checks = tuple((outputs[output], value) for output, value in until.checks)
        opened.until = OpenUntil(outputs[until.output], until.stops, until.before, checks, until.least, until.fewest)
    for write in repeat.writes:
        match write:
            case AllSteps(name, output):
                opened.steps[name] = outputs[output]
            case LastStep(name, output):
                opened.lasts[name] = outputs[output]
            case FinalBuffer(name, read):
                opened.finals[name] = placeholders[read]
            case Count(name):
                opened.counts[name] = write
    return opened


def close_repeat(opened: OpenRepeat) -> Repeat:
    """The repeat as data again, without calls, reads and outputs that nothing wanted depends on."""
    live = _live_placeholders(opened)
    outputs = list(
        dict.fromkeys(
            [
                *opened.steps.values(),
                *opened.lasts.values(),
                *(opened.feeds[p] for p in opened.feeds if p in live),
                *(opened.until.nodes() if isinstance(opened.until, OpenUntil) else ()),
            ]
        )
    )
    number = {node: k for k, node in enumerate(outputs)}
    opened.graph.output(tuple(outputs))
    opened.graph.eliminate_dead_code()
    for node in [n for n in opened.reads if n not in live]:
        opened.graph.erase_node(node)
    reads = []
    for node in opened.graph.find_nodes(op="placeholder"):
        read = opened.reads[node]
        reads.append(replace(read, output=number[opened.feeds[node]]) if isinstance(read, (Lag, Prefix)) else read)
    position = {node: k for k, node in enumerate(opened.graph.find_nodes(op="placeholder"))}
    writes: list[Write] = [AllSteps(name, number[node]) for name, node in opened.steps.items()]
    writes += [LastStep(name, number[node]) for name, node in opened.lasts.items()]
    writes += [FinalBuffer(name, position[node]) for name, node in opened.finals.items()]
    body = lazy_module(opened.graph, opened.name)
    until = opened.until.close(number) if isinstance(opened.until, OpenUntil) else opened.until
    writes += [replace(one, output=until.output) for one in opened.counts.values() if isinstance(until, Until)]
    return Repeat(opened.name, body, opened.length, tuple(reads), tuple(writes), opened.source, until)


def _live_placeholders(opened: OpenRepeat) -> set[fx.Node]:
    """Placeholders that a wanted value depends on, through any number of steps."""
    live: set[fx.Node] = set()
    pending = [*opened.steps.values(), *opened.lasts.values(), *opened.finals.values()]
    if opened.until is not None:
        pending += [*(opened.until.nodes() if isinstance(opened.until, OpenUntil) else ()), *_standing_in(opened)]
    seen: set[fx.Node] = set()
    while pending:
        node = pending.pop()
        if node in seen:
            continue
        seen.add(node)
        if node in opened.reads:
            live.add(node)
            pending += [opened.feeds[node]] if node in opened.feeds else []
        pending += node.all_input_nodes
    return live


def _standing_in(opened: OpenRepeat) -> list[fx.Node]:
    """Placeholders whose initial values are the results where no step runs."""
    results = [*opened.lasts.values()]
    return [one for one, read in opened.reads.items() if isinstance(read, Lag) and opened.feeds[one] in results]
