"""Entries that are written only to be read again are read where they were made.

    logits = model(x)[:, -1]        is  y = model(x);  y[:, -1] = where(mask, -inf, y[:, -1]);  logits = y[:, -1],
    logits[mask] = -inf

where nothing else reads y: the entry alone is what goes on, bit for bit.
"""

import torch
from torch import fx

from fxsolve.ir.calls import arguments, is_view
from fxsolve.ir.strides import is_contiguous
from fxsolve.torch_compat.graphs import Graph

aten = torch.ops.aten


def read_back(graph: fx.Graph) -> fx.Graph:
    """A copy of `graph` without such writes; the graph itself if there are none."""
    if not any(map(_readers, graph.nodes)):
        return graph
    copied = Graph.copy_of(graph)
    for node in copied.nodes:
        if readers := _readers(node):
            for reader in readers:
                reader.replace_all_uses_with(node.args[1])  # pyright: ignore[reportArgumentType]
            for unused in (*node.users, node):
                copied.erase_node(unused)
    return copied


def _readers(write: fx.Node) -> list[fx.Node]:
    """What reads the entry that a call has written, if nothing reads any other entry of its result."""
    if write.target is not aten.select_scatter.default or any(isinstance(one, fx.Node) for one in write.args[2:]):
        return []  # it may be at a place that changes with the loop around
    _, value, dim, index = write.args
    shape, form = write.meta["spec"].shape, value.meta["spec"]  # pyright: ignore
    live = [user for user in write.users if user.users or not is_view(user)]
    places = [_place(user, shape) for user in live]
    is_all = all(isinstance(index, int) and place == (dim % len(shape), index % shape[dim]) for place in places)  # pyright: ignore
    return live if is_all and is_contiguous(form) and all(_is_alike(user, write) for user in live) else []


def _place(user: fx.Node, shape: tuple[int, ...]) -> tuple[int, int] | None:
    """The dimension and the entry along it that a call reads, if it reads one."""
    if user.target is not aten.select.int:
        return None
    _, dim, index = arguments(user)
    return (dim % len(shape), index % shape[dim]) if isinstance(dim, int) and isinstance(index, int) else None


def _is_alike(reader: fx.Node, write: fx.Node) -> bool:
    """Whether a reader sees the type that was written, and is none of the results."""
    return write.args[1].meta["spec"].dtype == reader.meta["spec"].dtype and all(  # pyright: ignore
        user.op != "output" for user in reader.users
    )
