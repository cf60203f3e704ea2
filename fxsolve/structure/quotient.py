"""A graph of blocks: who reads whom, levels, skips, the longest chain, and what so many units at once would take.

Everywhere `reads[i]` are the blocks that block i reads, all of them before it.
"""

import heapq
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

Node = TypeVar("Node", bound=Hashable)
Reads = Sequence[Collection[int]]


@dataclass(frozen=True)
class Skip:
    """Block `target` reads block `source`, `span` > 1 levels before it."""

    source: int
    target: int
    span: int


def readers_of(reads: Reads) -> list[list[int]]:
    """Who reads each, in order."""
    readers: list[list[int]] = [[] for _ in reads]
    for reader, sources in enumerate(reads):
        for source in sources:
            readers[source].append(reader)
    return readers


def levels_of(reads: Reads) -> list[int]:
    """The level of each block: 1 where it reads none, else one more than the highest that it reads."""
    level: list[int] = []
    for sources in reads:
        level.append(1 + max((level[source] for source in sources), default=0))
    return level


def skips_of(reads: Reads) -> list[Skip]:
    """Every read over more than one level, by source and target."""
    level = levels_of(reads)
    pairs = ((source, target) for target, sources in enumerate(reads) for source in sources)
    return [Skip(a, b, level[b] - level[a]) for a, b in sorted(pairs) if level[b] - level[a] > 1]


def longest_path(reads: Mapping[Node, Iterable[Node]], costs: Mapping[Node, float]) -> float:
    """The largest sum of costs along one chain."""
    import networkx as nx  # late: most programs have no use for it

    graph = nx.DiGraph()
    graph.add_nodes_from(reads)
    graph.add_edges_from((source, target) for target, sources in reads.items() for source in sources)
    finish: dict[Node, float] = {}
    for node in nx.topological_sort(graph):
        finish[node] = costs[node] + max((finish[source] for source in graph.predecessors(node)), default=0)
    return max(finish.values(), default=0)


def waists(reads: Reads) -> list[int]:
    """The blocks that every path from the first to the last level passes: where single-entry regions meet.

    They are the dominators of what comes last (Lengauer and Tarjan 1979, as networkx has them).
    """
    import networkx as nx  # late: most programs have no use for it

    start, end = -1, len(reads)
    readers = readers_of(reads)
    graph = nx.DiGraph([(start, end)] if not reads else [])
    for block, sources in enumerate(reads):
        graph.add_edges_from((source, block) for source in (sources or (start,)))
        if not readers[block]:
            graph.add_edge(block, end)
    above = nx.immediate_dominators(graph, start)
    found, node = [], above[end]
    while node != start:
        found.append(node)
        node = above[node]
    return found[::-1]


def time_on(units: int, reads: Reads, costs: Sequence[float]) -> float:
    """When the last block ends if `units` of them run at once, those with the longest chain behind them first.

    A list schedule (Graham 1966): at most twice the shortest time.
    """
    readers = readers_of(reads)
    rest = list(costs)
    for block in reversed(range(len(reads))):
        rest[block] += max((rest[reader] for reader in readers[block]), default=0.0)
    missing = [len(sources) for sources in reads]
    ready = [(-rest[block], block) for block, count in enumerate(missing) if count == 0]
    heapq.heapify(ready)
    running: list[tuple[float, int]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < units:
            _, block = heapq.heappop(ready)
            heapq.heappush(running, (now + costs[block], block))
        now, done = heapq.heappop(running)
        for reader in readers[done]:
            missing[reader] -= 1
            if missing[reader] == 0:
                heapq.heappush(ready, (-rest[reader], reader))
    return now
