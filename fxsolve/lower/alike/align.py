"""Goes back from the results of several blocks to what they read, in all of them at once."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import fx

from fxsolve.errors import PartitionError
from fxsolve.ir.calls import join_dim
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.lower.alike.parts import sum_of_parts
from fxsolve.ops.access import Expanded, Reshaped
from fxsolve.ops.facts import access_of
from fxsolve.torch_compat.trees import pytree

JOIN = torch.ops.aten.cat.default
_SHAPED = (Reshaped(), Expanded())  # their numbers are the shape of what they give


class Summand(NamedTuple):
    """The entries of a value from `start` to `stop`."""

    name: str
    start: int
    stop: int


class Aligner:
    """The calls of the block of number `widest`, each of which stands for one of every block.

    `aligned` has these, `names` those of the leaves; `join` and `pieces`, or `sum`, are the list that blocks read.
    """

    def __init__(self, graphs: Sequence[fx.Graph], inputs: Sequence[tuple[str, ...]], widest: int) -> None:
        self.widest = widest
        self.aligned: dict[fx.Node, tuple[fx.Node, ...]] = {}
        self.names: dict[fx.Node, tuple[str, ...]] = {}
        self.join: fx.Node | None = None
        self.pieces: tuple[tuple[str, ...], ...] = ()
        self.sum: tuple[fx.Node | None, tuple[tuple[Summand, ...], ...]] = (None, ())
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
        if any(node.target is JOIN for node in nodes) and _differ(nodes):
            self._add_join(nodes)
        elif any(node.target is sum_of_parts for node in nodes) and len({repr(node.args[1:]) for node in nodes}) > 1:
            self._add_sum(nodes)
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
        dims = {join_dim(node) for node in nodes if node.target is JOIN}
        pieces = [list(node.args[0]) if node.target is JOIN else [node] for node in nodes]  # pyright: ignore
        if len(dims) > 1 or any(piece not in self._named for row in pieces for piece in row):
            raise PartitionError("they join what they make themselves")
        self.join = key
        self.pieces = tuple(tuple(self._named[piece] for piece in row) for row in pieces)
        if any(len(set(row)) < len(row) for row in self.pieces):
            raise PartitionError("they join one value twice")

    def _add_sum(self, nodes: tuple[fx.Node, ...]) -> None:
        if self.sum[0] is not None:
            raise PartitionError("they add up parts of more than one list")
        if any(node.target is not sum_of_parts for node in nodes) or len({repr(node.args[2]) for node in nodes}) > 1:
            raise PartitionError("they add up parts of values otherwise")
        pairs = [zip(*node.args[:2], strict=True) for node in nodes]  # pyright: ignore
        self.sum = (
            nodes[self.widest],
            tuple(tuple(Summand(self._named[value], *span) for value, span in row) for row in pairs),
        )


def _differ(nodes: Iterable[fx.Node]) -> bool:
    specs = [node.meta.get("spec") for node in nodes]
    return len({spec.shape if isinstance(spec, TensorSpec) else None for spec in specs}) > 1
