"""Entries that are added to a tensor and overwritten at once are added with what they become.

    x = cat([x, zeros], 1);  x[:, -1] = y        and        x = pad(x, (0, 1));  x[:, -1] = y

are both x = cat([x, y], 1), bit for bit; what reads the tensor in between still reads what was there.
"""

import torch
from torch import fx

from fxsolve.ir.builder import add_call
from fxsolve.ir.calls import arguments, is_view, join_dim
from fxsolve.torch_compat.graphs import Graph, find_calls

aten = torch.ops.aten


def join_overwritten(graph: fx.Graph) -> fx.Graph:
    """A copy of `graph` with joins in the place of such writes; the graph itself if there are none."""
    if not any(map(_kept, _writes(graph))):
        return graph
    copied = Graph.copy_of(graph)
    for node in _writes(copied):
        if kept := _kept(node):
            made = _join(copied, node, kept)
            if made.meta["spec"] == node.meta["spec"]:
                node.replace_all_uses_with(made)
                _erase(copied, [node, node.all_input_nodes[0]])
            else:
                copied.erase_node(made)
    return copied


def _writes(graph: fx.Graph) -> list[fx.Node]:
    return find_calls(graph, lambda target: target in (aten.select_scatter.default, aten.slice_scatter.default))


def _erase(graph: fx.Graph, nodes: list[fx.Node]) -> None:
    """Erase what nothing reads any more, and the views of it, which functionalizing leaves behind."""
    for node in nodes:
        views = [user for user in node.users if is_view(user) and not user.users]
        if len(views) == len(node.users):
            for unused in (*views, node):
                graph.erase_node(unused)


def _kept(node: fx.Node) -> list[fx.Node]:
    """What is in front of the last entry along the dimension of a write, if that alone was just added and is written.

    Nothing where that is not so.
    """
    place = _written_place(node)
    if place is None:
        return []
    (dim, index), added = place, node.all_input_nodes[0]
    kept = _pieces(added, dim)
    if not kept or index != node.meta["spec"].shape[dim] - 1:
        return []
    width = sum(piece.meta["spec"].shape[dim] for piece in kept)
    is_alike = all(piece.meta["spec"].dtype == node.meta["spec"].dtype for piece in kept)
    return kept if is_alike and width == index else []


def _written_place(node: fx.Node) -> tuple[int, int] | None:
    """The dimension and the entry along it that a write replaces by a tensor of the same type, if it is one entry."""
    base, value, dim, start, stop, step = arguments(node, None, None, 0, None, None, 1)
    form = base.meta["spec"]
    if value.meta["spec"].dtype != form.dtype or any(isinstance(one, fx.Node) for one in node.args[2:]):
        return None  # of another type, or at a place that changes with the loop around
    size = form.shape[dim % len(form.shape)]
    if node.target is aten.select_scatter.default:
        return dim % len(form.shape), start % size
    written = range(size)[slice(start, stop, step)]
    return (dim % len(form.shape), written.start) if len(written) == 1 else None


def _pieces(added: fx.Node, dim: int) -> list[fx.Node]:
    """What a tensor is joined of along a dimension but for the last piece, or the padding at the end."""
    if added.target is aten.cat.default and join_dim(added) == dim:
        pieces: list[fx.Node] = list(added.args[0])  # pyright: ignore[reportArgumentType]
        rank = len(added.meta["spec"].shape)
        return [piece for piece in pieces[:-1] if len(piece.meta["spec"].shape) == rank]  # others are empty vectors
    if added.target is not aten.constant_pad_nd.default:
        return []
    padded, pads, *_ = added.args
    assert isinstance(padded, fx.Node) and isinstance(pads, (list, tuple))
    position = 2 * (len(added.meta["spec"].shape) - 1 - dim) + 1
    is_end = len(pads) > position and all(amount == 0 for k, amount in enumerate(pads) if k != position)
    return [padded] if is_end else []


def _join(graph: fx.Graph, node: fx.Node, kept: list[fx.Node]) -> fx.Node:
    _, value, dim, *_ = node.args
    assert isinstance(value, fx.Node) and isinstance(dim, int)
    rank = len(node.meta["spec"].shape)
    with graph.inserting_before(node):
        if len(value.meta["spec"].shape) < rank:
            value = add_call(graph, aten.unsqueeze.default, (value, dim % rank), like=node)
        return add_call(graph, aten.cat.default, ([*kept, value], dim % rank), like=node)
