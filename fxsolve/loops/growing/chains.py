"""Tensors that grow by `cat`: x_1 = cat(x_0, y_1), x_2 = cat(x_1, y_2), ..."""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import fx

from fxsolve.ir.calls import join_dim

aten = torch.ops.aten

MIN_JOINS = 3


@dataclass(frozen=True)
class Part:
    """Entries start <= i < stop, along the dimension of its chain, of a piece."""

    piece: fx.Node
    start: int
    stop: int


@dataclass
class Chain:
    """Joins along `dim`, each of the one before it and new pieces, and all their pieces without empty ones.

    The pieces count from the end that stays fixed: `starts[k]` is the distance of piece k from it. `appends` tells
    whether that is the beginning, so that new pieces come last.
    """

    dim: int
    appends: bool
    joins: list[fx.Node] = field(default_factory=list)
    pieces: list[fx.Node] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    stops: list[int] = field(default_factory=list)  # of the joins: how many pieces each has

    def add(self, join: fx.Node, pieces: list[fx.Node]) -> None:
        """Add a join and its new pieces, in the order of its arguments."""
        for piece in pieces if self.appends else reversed(pieces):
            self.starts.append(self.starts[-1] + width_of(self.pieces[-1], self.dim) if self.pieces else 0)
            self.pieces.append(piece)
        self.joins.append(join)
        self.stops.append(len(self.pieces))

    def parts(self, join: fx.Node, start: int, stop: int) -> list[Part]:
        """What entries start <= i < stop of a join are made of, in order."""
        width = width_of(join, self.dim)
        low, high = (start, stop) if self.appends else (width - stop, width - start)
        first = bisect_right(self.starts, low) - 1
        found = list(self._from(first, low, high))
        return found if self.appends else found[::-1]

    def _from(self, number: int, low: int, high: int) -> Iterator[Part]:
        while number < len(self.pieces) and self.starts[number] < high:
            piece, begin = self.pieces[number], self.starts[number]
            width = width_of(piece, self.dim)
            start, stop = max(low - begin, 0), min(high - begin, width)
            yield Part(piece, start, stop) if self.appends else Part(piece, width - stop, width - start)
            number += 1


def width_of(node: fx.Node, dim: int) -> int:
    """The size of a value along a dimension."""
    return node.meta["spec"].shape[dim]


def find_chains(graph: fx.Graph) -> list[Chain]:
    """The chains of `MIN_JOINS` joins or more whose pieces have the dtype of the join."""
    chains: list[Chain] = []
    ends: dict[tuple[fx.Node, bool], Chain] = {}
    for node in graph.find_nodes(op="call_function", target=aten.cat.default):
        pieces = _pieces(node)
        if not pieces or any(piece.meta["spec"].dtype != node.meta["spec"].dtype for piece in pieces):
            continue
        for appends, known, new in ((True, pieces[0], pieces[1:]), (False, pieces[-1], pieces[:-1])):
            chain = ends.pop((known, appends), None)
            if chain is None or chain.dim != join_dim(node):
                chain, new = Chain(join_dim(node), appends), pieces
                chains.append(chain)
            chain.add(node, new)
            ends[node, appends] = chain
    return [chain for chain in chains if len(chain.joins) >= MIN_JOINS]


def _pieces(join: fx.Node) -> list[fx.Node]:
    """The arguments of a `cat` that have entries; among them may be an empty vector, whatever their rank."""
    rank, dim = len(join.meta["spec"].shape), join_dim(join)
    return [
        piece
        for piece in join.args[0]  # pyright: ignore[reportGeneralTypeIssues, reportOptionalIterable]
        if len(piece.meta["spec"].shape) == rank and width_of(piece, dim)  # pyright: ignore
    ]
