"""What entries of a chain of joins are made of, against the joined tensors themselves."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, fx

from fxsolve.ir.tensor_spec import spec_of
from fxsolve.loops.growing.chains import MIN_JOINS, find_chains, width_of

aten = torch.ops.aten


class Grown:
    """A graph of joins, with the value of every node."""

    def __init__(self) -> None:
        self.graph = fx.Graph()
        self.values: dict[fx.Node, Tensor] = {}

    def piece(self, *shape: int, dtype: torch.dtype = torch.float32) -> fx.Node:
        first = 100 * len(self.values)
        values = torch.arange(first, first + torch.Size(shape).numel(), dtype=dtype).reshape(shape)
        return self._kept(self.graph.placeholder("piece"), values)

    def join(self, pieces: list[fx.Node], dim: int) -> fx.Node:
        node = self.graph.call_function(aten.cat.default, (pieces, dim))
        return self._kept(node, torch.cat([self.values[piece] for piece in pieces], dim))

    def _kept(self, node: fx.Node, values: Tensor) -> fx.Node:
        self.values[node] = values
        node.meta["spec"] = spec_of(values)
        return node


@st.composite
def grown(draw: st.DrawFn, dim: int, appends: bool) -> Grown:
    """One tensor that grows at one end by up to two pieces a step, empty ones among them."""
    made = Grown()

    def piece() -> fx.Node:
        width = draw(st.integers(0, 3))
        return made.piece(0) if width == 0 else made.piece(*((2, width) if dim else (width, 2)))

    sequence = made.piece(2, 2)
    for _ in range(draw(st.integers(MIN_JOINS, 6))):
        new = [piece() for _ in range(draw(st.integers(1, 2)))]
        sequence = made.join([sequence, *new] if appends else [*new, sequence], draw(st.sampled_from([dim, dim - 2])))
    return made


@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("appends", [True, False])
def test_the_parts_of_any_entries_of_a_join_are_those_entries(dim: int, appends: bool) -> None:
    @settings(max_examples=40, deadline=None)
    @given(grown(dim, appends), st.data())
    def check(made: Grown, data: st.DataObject) -> None:
        chain = next(chain for chain in find_chains(made.graph) if chain.appends == appends)
        assert chain.dim == dim
        join = data.draw(st.sampled_from(chain.joins))
        start = data.draw(st.integers(0, width_of(join, dim) - 1))
        stop = data.draw(st.integers(start + 1, width_of(join, dim)))
        parts = chain.parts(join, start, stop)
        pieces = [made.values[part.piece].narrow(dim, part.start, part.stop - part.start) for part in parts]
        assert all(part.piece not in chain.joins for part in parts)
        assert torch.equal(torch.cat(pieces, dim), made.values[join].narrow(dim, start, stop - start))

    check()


def grow(made: Grown, count: int, dim: int = 0) -> list[fx.Node]:
    sequence, joins = made.piece(2, 2), []
    for _ in range(count):
        joins.append(sequence := made.join([sequence, made.piece(2, 2)], dim))
    return joins


def test_fewer_joins_are_no_chain() -> None:
    made = Grown()
    grow(made, MIN_JOINS - 1)
    assert find_chains(made.graph) == []


def test_each_join_is_in_the_chain_of_the_one_that_it_continues() -> None:
    made = Grown()
    one, two = grow(made, 4), grow(made, 3, dim=1)
    assert [(chain.dim, chain.joins) for chain in find_chains(made.graph)] == [(0, one), (1, two)]


def test_a_join_along_another_dimension_ends_a_chain() -> None:
    made = Grown()
    joins = grow(made, 3)
    other = made.join([joins[-1], made.piece(8, 1)], 1)
    assert [chain.joins for chain in find_chains(made.graph)] == [joins]
    assert other not in joins


def test_a_join_that_converts_its_pieces_is_in_no_chain() -> None:
    made = Grown()
    joins = grow(made, 3)
    made.join([joins[-1], made.piece(2, 2, dtype=torch.float64)], 0)
    assert [chain.joins for chain in find_chains(made.graph)] == [joins]
