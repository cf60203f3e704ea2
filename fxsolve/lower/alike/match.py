"""Which calls of several blocks are the same one, but for the sizes of what they join and of their weights."""

import math
from collections.abc import Collection, Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Any

from torch import fx

from fxsolve.errors import PartitionError
from fxsolve.ir.calls import join_dim
from fxsolve.ir.spec import Block
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.lower.alike.align import JOIN, Aligner, Summand
from fxsolve.lower.alike.fold import fold
from fxsolve.lower.alike.kinds import Kind, kinds_of
from fxsolve.lower.alike.parts import sum_of_parts
from fxsolve.lower.alike.spread import kinds_behind_sum
from fxsolve.torch_compat.graphs import Graph

Results = tuple[tuple[str | None, ...], ...]


@dataclass(frozen=True)
class Likeness:
    """Blocks, and the calls of the widest of them, each of which stands for one of every block.

    `aligned` has these, in order, `names` what a placeholder stands for in each block. `join` is the call that joins a
    list, `pieces` are the names in it, by block. `outputs` are calls whose values are wanted, `results` their names in
    each block. In the place of a list, blocks may read `added`, a sum of the parts `terms` of values along a dimension.
    """

    aligned: dict[fx.Node, tuple[fx.Node, ...]]
    names: dict[fx.Node, tuple[str, ...]]
    join: fx.Node | None
    pieces: tuple[tuple[str, ...], ...]
    kinds: dict[fx.Node, Kind]
    outputs: tuple[fx.Node, ...]
    results: Results
    added: fx.Node | None = None
    terms: tuple[tuple[Summand, ...], ...] = ()

    @property
    def dim(self) -> int:
        """The dimension along which the list is joined, or of the parts that are added."""
        if self.added is not None:
            return _added_dim(self.added)
        return join_dim(self.join) if self.join is not None else 0


def _added_dim(added: fx.Node) -> int:
    dim: Any = added.args[2]
    return dim


def calls_in_order(block: Block) -> list[fx.Node]:
    """The calls of a block without joins, which the first block of many does not need, and sums of parts."""
    return [node for node in block.body.graph.nodes if node.op == "call_function" and node.target not in _LISTS]


_LISTS = (JOIN, sum_of_parts)


def match(blocks: Sequence[Block], read: Collection[str], unknown: Set[str]) -> Likeness:
    """What blocks with the same calls in order have in common; raises `PartitionError` with what they do not.

    `read` are the names that other blocks read, `unknown` all that are not known before the sweeps.
    """
    places = _wanted_places(blocks, read)
    if not places:
        raise PartitionError("no block reads a call of theirs that all of them make")
    graphs = [fold(_only(block, places)) for block in blocks]
    wanted: Any = [graph.output_node().args[0] for graph in graphs]
    widest = max(range(len(blocks)), key=lambda number: (_size(wanted[number]), len(blocks[number].inputs), number))
    aligner = Aligner(graphs, [block.inputs for block in blocks], widest)
    for nodes in zip(*wanted, strict=True):
        aligner.align(nodes)
    aligned = {node: aligner.aligned[node] for node in graphs[widest].nodes if node in aligner.aligned}
    given: dict[fx.Node, Kind] = {
        node: "weight" if unknown.isdisjoint(names) else "even" for node, names in aligner.names.items()
    }
    kinds = _kinds(aligned, given, aligner)
    outputs, results = tuple(wanted[widest]), _results(blocks, places)
    if any(kinds[node] == "weight" or (kinds[node] == "grown" and aligner.sum[0] is None) for node in outputs):
        raise PartitionError("what others read of them is no result of a sum over what they join")
    return Likeness(aligned, aligner.names, aligner.join, aligner.pieces, kinds, outputs, results, *aligner.sum)


def _size(nodes: Iterable[fx.Node]) -> int:
    specs = (node.meta.get("spec") for node in nodes)
    return sum(math.prod(spec.shape) for spec in specs if isinstance(spec, TensorSpec))


def _kinds(
    aligned: dict[fx.Node, tuple[fx.Node, ...]], given: dict[fx.Node, Kind], found: Aligner
) -> dict[fx.Node, Kind]:
    """Those of all calls; raises `PartitionError` unless they sum over a list, or spread a sum."""
    join, (added, _) = found.join, found.sum
    if added is not None:
        if join is not None:
            raise PartitionError("they join a list and add up parts of others")
        return kinds_behind_sum(aligned, {**given, added: "even"}, _added_dim(added))
    if join is not None:
        return kinds_of(aligned, {**given, join: "grown"}, join_dim(join))
    return kinds_of(aligned, given, 0)


def _wanted_places(blocks: Sequence[Block], read: Collection[str]) -> list[int]:
    """Which of the calls in order make values that other blocks read; raises `PartitionError` where a join does."""
    found: set[int] = set()
    for block in blocks:
        calls = {node: place for place, node in enumerate(calls_in_order(block))}
        results: Any = block.body.graph.output_node().args[0]
        wanted = [node for name, node in zip(block.outputs, results, strict=True) if name in read]
        joined = next((node for node in wanted if node not in calls), None)
        if joined is not None:
            raise PartitionError(f"others read {joined.name}, which not all of them need to join")
        found.update(calls[node] for node in wanted)
    return sorted(found)


def _only(block: Block, places: Iterable[int]) -> fx.Graph:
    """The graph of a block with the calls at some places as its outputs."""
    graph, copied = Graph(), {}
    for node in block.body.graph.nodes:
        if node.op != "output":
            copied[node] = graph.node_copy(node, lambda source: copied[source])
    calls = calls_in_order(block)
    graph.output(tuple(copied[calls[place]] for place in places))
    graph.eliminate_dead_code()
    return graph


def _results(blocks: Sequence[Block], places: Iterable[int]) -> Results:
    """The name of the value that each block makes at each place; None where it has none."""
    names = [_names_of_calls(block) for block in blocks]
    return tuple(tuple(one.get(place) for one in names) for place in places)


def _names_of_calls(block: Block) -> dict[int, str]:
    results: Any = block.body.graph.output_node().args[0]
    named = {node: name for name, node in zip(block.outputs, results, strict=True)}
    return {place: named[node] for place, node in enumerate(calls_in_order(block)) if node in named}
