"""Which calls of several blocks are the same one, but for the sizes of what they join and of their weights."""

from collections.abc import Collection, Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from fxsolve.errors import PartitionError
from fxsolve.ir.calls import join_dim
from fxsolve.ir.spec import Block
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.lower.alike.kinds import Kind, kinds_of
from fxsolve.lower.alike.norms import fold_norms
from fxsolve.ops.access import Expanded, Reshaped
from fxsolve.ops.facts import access_of
from fxsolve.torch_compat.graphs import Graph
from fxsolve.torch_compat.trees import pytree

aten = torch.ops.aten
Results = tuple[tuple[str | None, ...], ...]


@dataclass(frozen=True)
class Likeness:
    """Blocks, and the calls of the widest of them, each of which stands for one of every block.

    `aligned` has these, in order, `names` what a placeholder stands for in each block. `join` is the call that joins a
    list, `pieces` are the names in it, by block. `outputs` are calls whose values are wanted, `results` their names in
    each block.
    """

    aligned: dict[fx.Node, tuple[fx.Node, ...]]
    names: dict[fx.Node, tuple[str, ...]]
    join: fx.Node | None
    pieces: tuple[tuple[str, ...], ...]
    kinds: dict[fx.Node, Kind]
    outputs: tuple[fx.Node, ...]
    results: Results

    @property
    def dim(self) -> int:
        """The dimension along which the list is joined."""
        return join_dim(self.join) if self.join is not None else 0


def calls_in_order(block: Block) -> list[fx.Node]:
    """The calls of a block, joins left out, which the first block of many does not need."""
    return [node for node in block.body.graph.nodes if node.op == "call_function" and node.target is not _JOIN]


_JOIN = aten.cat.default
_SHAPED = (Reshaped(), Expanded())  # their numbers are the shape of what they give


def match(blocks: Sequence[Block], read: Collection[str], unknown: Set[str]) -> Likeness:
    """What blocks with the same calls in order have in common; raises `PartitionError` with what they do not.

    `read` are the names that other blocks read, `unknown` all that are not known before the sweeps.
    """
    places = _wanted_places(blocks, read)
    if not places:
        raise PartitionError("no block reads a call of theirs that all of them make")
    graphs = [fold_norms(_only(block, places)) for block in blocks]
    widest = max(range(len(blocks)), key=lambda number: (len(blocks[number].inputs), number))
    aligner = _Aligner(graphs, [block.inputs for block in blocks], widest)
    wanted = [graph.output_node().args[0] for graph in graphs]
    for nodes in zip(*wanted, strict=True):  # pyright: ignore[reportArgumentType]
        aligner.align(nodes)
    order = [node for node in graphs[widest].nodes if node in aligner.aligned]
    aligned = {node: aligner.aligned[node] for node in order}
    given: dict[fx.Node, Kind] = {
        node: "weight" if unknown.isdisjoint(names) else "even" for node, names in aligner.names.items()
    }
    join = aligner.join
    if join is not None:
        given[join] = "grown"
    kinds = kinds_of(aligned, given, join_dim(join) if join is not None else 0)
    outputs = tuple(wanted[widest])  # pyright: ignore[reportArgumentType]
    if any(kinds[node] != "even" for node in outputs):
        raise PartitionError("what others read of them is no result of a sum over what they join")
    return Likeness(aligned, aligner.names, join, aligner.pieces, kinds, outputs, _results(blocks, places))


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


class _Aligner:
    """Goes back from results to leaves, in all blocks at once."""

    def __init__(self, graphs: Sequence[fx.Graph], inputs: Sequence[tuple[str, ...]], widest: int) -> None:
        self.widest = widest
        self.aligned: dict[fx.Node, tuple[fx.Node, ...]] = {}
        self.names: dict[fx.Node, tuple[str, ...]] = {}
        self.join: fx.Node | None = None
        self.pieces: tuple[tuple[str, ...], ...] = ()
        self._named = {
            node: name
            for graph, names in zip(graphs, inputs, strict=True)
            for node, name in zip(graph.find_nodes(op="placeholder"), names, strict=True)
        }

    def align(self, nodes: tuple[fx.Node, ...]) -> None:
        key = nodes[self.widest]
        if key in self.aligned:
            if self.aligned[key] != nodes:
                raise PartitionError(f"{key.name} is read in other places in each")
            return
        self.aligned[key] = nodes
        if any(node.target is _JOIN for node in nodes) and _differ(nodes):
            self._add_join(nodes)
        elif all(node in self._named for node in nodes):
            self.names[key] = tuple(self._named[node] for node in nodes)
        else:
            self._align_calls(nodes)

    def _align_calls(self, nodes: tuple[fx.Node, ...]) -> None:
        if len({node.target for node in nodes}) > 1 or any(node in self._named for node in nodes):
            raise PartitionError(f"{nodes[self.widest].name} is another call in each")
        flat = [pytree.tree_leaves((node.args, node.kwargs), is_leaf=lambda leaf: leaf is None) for node in nodes]
        if len({len(leaves) for leaves in flat}) > 1:
            raise PartitionError(f"{nodes[self.widest].name} takes other arguments in each")
        for leaves in zip(*flat, strict=True):
            if all(isinstance(leaf, fx.Node) for leaf in leaves):
                self.align(leaves)
            elif any(isinstance(leaf, fx.Node) for leaf in leaves):
                raise PartitionError(f"{nodes[self.widest].name} takes other arguments in each")
            elif len(set(map(repr, leaves))) > 1 and access_of(nodes[0].target) not in _SHAPED:
                raise PartitionError(f"{nodes[self.widest].name} takes other numbers in each")

    def _add_join(self, nodes: tuple[fx.Node, ...]) -> None:
        key = nodes[self.widest]
        if self.join is not None:
            raise PartitionError("they join more than one list")
        dims = {join_dim(node) for node in nodes if node.target is _JOIN}
        pieces = [list(node.args[0]) if node.target is _JOIN else [node] for node in nodes]  # pyright: ignore
        if len(dims) > 1 or any(piece not in self._named for row in pieces for piece in row):
            raise PartitionError("they join what they make themselves")
        self.join = key
        self.pieces = tuple(tuple(self._named[piece] for piece in row) for row in pieces)
        if any(len(set(row)) < len(row) for row in self.pieces):
            raise PartitionError("they join one value twice")


def _differ(nodes: Iterable[fx.Node]) -> bool:
    specs = [node.meta.get("spec") for node in nodes]
    return len({spec.shape if isinstance(spec, TensorSpec) else None for spec in specs}) > 1
