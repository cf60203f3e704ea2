"""Joins that differ from a tensor in one entry are that tensor with the entry written.

    cat([x[:, :k], y, x[:, k + 1 :]], 1)  =  x with entry k replaced,
    stack([a, b, d])                      =  stack([a, b, c]) with entry 2 replaced,

where a list, items of which are replaced one by one, is joined again at every step, or is filled up with zeros. The
values are the same, bit for bit.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import torch
from torch import fx

from fxsolve.ir.builder import add_call
from fxsolve.ir.calls import arguments, join_dim
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.ops.access import ConstantFill, Joined, Made
from fxsolve.ops.call import bind
from fxsolve.ops.facts import access_of
from fxsolve.torch_compat.graphs import Graph, find_calls
from fxsolve.torch_compat.operators import OpOverload

aten = torch.ops.aten

_MIN_JOINS = 3
_MOST_PIECES = 3  # what is in front of an entry, the entry, and what is behind it


class _Stretch(NamedTuple):
    """Entries from `start` on, along the dimension of a join, of a tensor; or one constant, for which that is None."""

    source: Hashable
    start: int | None
    width: int

    def at(self, k: int) -> tuple[Hashable, int | None]:
        return self.source, None if self.start is None else self.start + k


@dataclass(frozen=True)
class _PieceWrite:
    """`join` is `base` with entry `place` replaced by entry `index` of `source`."""

    join: fx.Node
    base: fx.Node
    place: int
    source: fx.Node
    index: int


def write_pieces(graph: fx.Graph) -> fx.Graph:
    """A copy of `graph` with `select_scatter` in the place of such joins; the graph itself if there are none."""
    found = _find(graph)
    if not found:
        return graph
    copies: dict[fx.Node, fx.Node] = {}
    copied = Graph.copy_of(graph, copies)
    for one in found:
        node = copies[one.join]
        made = _put(copied, node, copies[one.base], copies[one.source], one)
        if made.meta["spec"] == node.meta["spec"]:
            node.replace_all_uses_with(made)
            copied.erase_node(node)
            copies[one.join] = made
            _erase_fills(copied, [copies[piece] for piece in one.join.all_input_nodes])
        else:
            copied.erase_node(made)
    return copied


def _erase_fills(graph: fx.Graph, pieces: list[fx.Node]) -> None:
    """Constants that nothing joins any more would make of each step another one."""
    for piece in pieces:
        if not piece.users and filled_with(piece) is not None:
            graph.erase_node(piece)


def _put(graph: fx.Graph, node: fx.Node, base: fx.Node, source: fx.Node, write: _PieceWrite) -> fx.Node:
    dim = join_dim(write.join)
    with graph.inserting_before(node):
        is_list = write.join.target is aten.stack.default
        value = source if is_list else add_call(graph, aten.select.int, (source, dim, write.index), like=node)
        return add_call(graph, aten.select_scatter.default, (base, value, dim, write.place), like=node)


def _find(graph: fx.Graph) -> list[_PieceWrite]:
    """The writes, of joins of one form all but the first: steps of a loop are left alike, or all written anew."""
    forms: dict[Hashable, list[fx.Node]] = defaultdict(list)
    for node in find_calls(graph, lambda target: access_of(target) == Joined()):
        if not any(isinstance(one, fx.Node) for one in node.args[1:]) and _is_alike(node):
            forms[_key(node)].append(node)
    found: list[_PieceWrite] = []
    for joins in forms.values():
        writes = list(_writes(joins)) if len(joins) >= _MIN_JOINS else []
        found += writes if len(writes) >= len(joins) - 1 else []
    return found


def _writes(joins: list[fx.Node]) -> Iterator[_PieceWrite]:
    """Those of joins of one form."""
    known: dict[fx.Node, _Stretch] = {}  # the pieces of a list are those of the list before
    latest: tuple[fx.Node, list[_Stretch]] | None = None
    for join in joins:
        pieces: list[fx.Node] = list(join.args[0])  # pyright: ignore[reportArgumentType]
        known.update((piece, _stretch(piece, join)) for piece in pieces if piece not in known)
        line = [known[piece] for piece in pieces if known[piece].width]
        bases = [*_sliced(join, line), *([latest] if latest is not None else [])]
        differences = (_difference(join, line, base, old) for base, old in bases)
        yield from islice((write for write in differences if write is not None), 1)
        latest = join, line


def _is_alike(join: fx.Node) -> bool:
    """Whether all pieces have the type of their join."""
    return all(piece.meta["spec"].dtype == join.meta["spec"].dtype for piece in join.all_input_nodes)


def _key(join: fx.Node) -> tuple[object, int, TensorSpec]:
    return join.target, join_dim(join), join.meta["spec"]


def _sliced(join: fx.Node, line: list[_Stretch]) -> Iterator[tuple[fx.Node, list[_Stretch]]]:
    """The tensors of the form of a join of which it has slices, with what stands in them."""
    if len(line) > _MOST_PIECES:
        return
    _, dim, form = _key(join)
    for piece in dict.fromkeys(_part(piece, join)[0] for piece in join.all_input_nodes):
        if piece.meta["spec"][::2] == form[::2]:
            yield piece, [_run(piece, 0, form.shape[dim])]


def _difference(join: fx.Node, new: list[_Stretch], base: fx.Node, old: list[_Stretch]) -> _PieceWrite | None:
    """How a join differs from a tensor, if only in one entry."""
    same = _equal(iter(old), iter(new))
    start = sum(run.width for run in new[:same])
    left, given = new[same:], old[same:]
    width = sum(run.width for run in left)
    front = _equal(_entries(given), _entries(left))
    back = _equal(_backwards(given), _backwards(left)) if front < width else 0
    if join.meta["spec"].shape[join_dim(join)] == 1 or front + back != width - 1:
        return None
    source, index = next(entry for k, entry in enumerate(_entries(left)) if k == front)
    if not isinstance(source, fx.Node) or index is None:
        return None
    return _PieceWrite(join, base, start + front, source, index)


def _equal(one: Iterator[object], other: Iterator[object]) -> int:
    """How many of the first items are equal."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def _entries(runs: list[_Stretch]) -> Iterator[tuple[Hashable, int | None]]:
    return (run.at(k) for run in runs for k in range(run.width))


def _backwards(runs: list[_Stretch]) -> Iterator[tuple[Hashable, int | None]]:
    return (run.at(k) for run in reversed(runs) for k in reversed(range(run.width)))


def _stretch(piece: fx.Node, join: fx.Node) -> _Stretch:
    """What a piece holds along the dimension of its join."""
    shape, whole = piece.meta["spec"].shape, join.meta["spec"].shape
    if join.target is aten.stack.default:
        return _run(piece, 0, 1)
    if len(shape) != len(whole):
        return _run(piece, 0, 0)  # one of no entries may be a vector
    return _run(*_part(piece, join), shape[join_dim(join)])


def _part(piece: fx.Node, join: fx.Node) -> tuple[fx.Node, int]:
    """What a piece is a slice of along the dimension of its join, and from which entry on; itself if it is none."""
    if piece.target is not aten.slice.Tensor or join.target is aten.stack.default:
        return piece, 0
    tensor, dim, start, _, step = arguments(piece, None, 0, None, None, 1)
    shape = tensor.meta["spec"].shape
    if dim % len(shape) != join_dim(join) or step != 1 or not isinstance(start, int):
        return piece, 0
    return tensor, range(shape[join_dim(join)])[slice(start, None)].start


def _run(source: fx.Node, start: int, width: int) -> _Stretch:
    number = filled_with(source)
    return _Stretch(source, start, width) if number is None else _Stretch(("constant", repr(number)), None, width)


def filled_with(node: fx.Node) -> object:
    """The number in all entries of a tensor that is filled with one, None for others."""
    if not isinstance(access_of(node.target), (ConstantFill, Made)):
        return None
    assert isinstance(node.target, OpOverload)
    call = bind(node.target, node.args, node.kwargs, None)
    known = {"zeros": 0, "ones": 1, "full": call["fill_value"]}
    return next((number for name, number in known.items() if name in call.name), None)
