"""Loops that grow a tensor by `cat` but read only its ends: the steps become equal, and one `cat` is left.

An entry of a join is an entry of one of its pieces,

    cat(x, y).select(dim, -1)  =  y.select(dim, -1),

and a join that only the next one reads is no value of its own, cat(cat(x, y), z) = cat(x, y, z). The values are the
same, bit for bit; a part of a join lies elsewhere in memory than the piece, so that a matrix product of it may round
differently.
"""

from collections import Counter

import torch
from torch import fx

from fxsolve.ir.builder import add_call
from fxsolve.ir.calls import arguments
from fxsolve.loops.growing.chains import Chain, Part, find_chains, width_of
from fxsolve.torch_compat.graphs import Graph
from fxsolve.torch_compat.operators import OpOverload

aten = torch.ops.aten

_MOST_PARTS = 64  # of a window that moves along a chain
_MIN_WINDOWS = 3


def join_growth(graph: fx.Graph) -> fx.Graph:
    """A copy of `graph` in which chains of joins are read through; the graph itself where there is none."""
    if not find_chains(graph):
        return graph
    copied = Graph.copy_of(graph)
    returned = _returned_views(copied)
    done: set[fx.Node] = set()
    # Reading through one chain changes the pieces of others, so they are looked for again.
    while chain := next((chain for chain in find_chains(copied) if chain.joins[-1] not in done), None):
        done.add(chain.joins[-1])
        _read_pieces(copied, chain, returned)
        _collapse(copied, chain)
    return copied


def _returned_views(graph: fx.Graph) -> set[fx.Node]:
    """The values that the caller gets, and those that they may share memory with."""
    found: set[fx.Node] = set()
    pending = list(graph.output_node().all_input_nodes)
    while pending:
        node = pending.pop()
        if node in found:
            continue
        found.add(node)
        if node.op == "call_function" and not _is_fresh(node):
            pending += node.all_input_nodes
    return found


def _is_fresh(node: fx.Node) -> bool:
    """Whether a call always makes new memory: `reshape` and its like may, and `getitem` never does."""
    target = node.target
    return isinstance(target, OpOverload) and not target.is_view and target is not aten.reshape.default


def _read_pieces(graph: fx.Graph, chain: Chain, returned: set[fx.Node]) -> None:
    reads = [
        (join, user, span)
        for join in chain.joins
        for user in list(join.users)
        if user not in returned and (span := _span(chain, join, user)) is not None
    ]
    widths = Counter(stop - start for _, user, (start, stop) in reads if user.target is aten.slice.Tensor)
    stays = _is_read_whole(chain, {user for _, user, _ in reads})
    for join, user, (start, stop) in reads:
        if user.target is aten.slice.Tensor and (stays or widths[stop - start] < _MIN_WINDOWS):
            continue
        parts = chain.parts(join, start, stop)
        if len(parts) <= _MOST_PARTS:
            with graph.inserting_before(user):
                made = _selected(graph, chain, user, parts[0]) or _joined(graph, chain, user, parts)
            user.replace_all_uses_with(made)
            graph.erase_node(user)


def _is_read_whole(chain: Chain, ends: set[fx.Node]) -> bool:
    """Whether several joins are read by others than the next join and by what reads their `ends`.

    They are there then; and of windows that move over what the loop began with, each is made of other pieces.
    """
    later = {*chain.joins, *ends}
    return sum(any(user not in later for user in join.users) for join in chain.joins) >= _MIN_WINDOWS


def _span(chain: Chain, join: fx.Node, user: fx.Node) -> tuple[int, int] | None:
    """The entries of a join along its dimension that a call reads, or None if they are not all of a plain range."""
    rank, width = len(join.meta["spec"].shape), width_of(join, chain.dim)
    if user.target not in (aten.select.int, aten.slice.Tensor) or user.kwargs:
        return None
    _, dim, start, *_ = arguments(user, None, 0, None)
    if dim % rank != chain.dim:
        return None
    if user.target is aten.select.int:
        return start % width, start % width + 1
    return _slice_span(user, width)


def _slice_span(node: fx.Node, width: int) -> tuple[int, int] | None:
    """The entries start <= i < stop that a `slice` reads of `width`; None for a step, or if there are none."""
    _, _, start, stop, step = arguments(node, None, 0, None, None, 1)
    start, stop, _ = slice(start, stop).indices(width)
    return (start, stop) if step == 1 and start < stop else None


def _selected(graph: fx.Graph, chain: Chain, user: fx.Node, part: Part) -> fx.Node | None:
    """The entry that a `select` reads, of the piece that has it."""
    if user.target is not aten.select.int:
        return None
    piece, index = part.piece, part.start
    if piece.target is aten.unsqueeze.default and piece.args[1] % len(piece.meta["spec"].shape) == chain.dim:  # pyright: ignore
        return piece.args[0]  # pyright: ignore[reportReturnType]
    if user.args[2] < 0:  # pyright: ignore[reportOperatorIssue]
        index -= width_of(piece, chain.dim)  # the last entry is number -1 of every piece, however wide
    return add_call(graph, aten.select.int, (piece, chain.dim, index), like=user)


def _joined(graph: fx.Graph, chain: Chain, user: fx.Node, parts: list[Part]) -> fx.Node:
    """The range that a `slice` reads, as a join of pieces."""
    nodes = [_cut(graph, chain, user, part) for part in parts]
    if len(nodes) == 1:
        return nodes[0]
    return add_call(graph, aten.cat.default, (nodes, chain.dim), like=user)


def _cut(graph: fx.Graph, chain: Chain, user: fx.Node, part: Part) -> fx.Node:
    if part.stop - part.start == width_of(part.piece, chain.dim):
        return part.piece
    return add_call(graph, aten.slice.Tensor, (part.piece, chain.dim, part.start, part.stop), like=user)


def _collapse(graph: fx.Graph, chain: Chain) -> None:
    """Leave out the joins that only the next one reads; the next one takes over their pieces."""
    base: list[fx.Node] = []
    done = 0
    inner: list[fx.Node] = []
    for number, join in enumerate(chain.joins):
        if list(join.users) == chain.joins[number + 1 : number + 2]:
            inner.append(join)
            continue
        pieces = [*base, *chain.pieces[done : chain.stops[number]]]
        join.args = (pieces if chain.appends else pieces[::-1], chain.dim)
        join.kwargs = {}
        base, done = [join], chain.stops[number]
    for join in reversed(inner):
        graph.erase_node(join)
