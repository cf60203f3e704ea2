"""Entries that are written only to be read again are read where they were made.

    logits = model(x)[:, -1]        is  y = model(x);  y[:, -1] = where(mask, -inf, y[:, -1]);  logits = y[:, -1],
    logits[mask] = -inf

where nothing else reads y: the entry alone is what goes on, bit for bit. A write that another one to the same place
follows is left out.
"""

from collections.abc import Collection

import torch
from torch import fx

from fxsolve.ir.calls import arguments, is_view
from fxsolve.ir.strides import is_contiguous, lies_as
from fxsolve.torch_compat.graphs import Graph

aten = torch.ops.aten


def read_back(graph: fx.Graph) -> fx.Graph:
    """A copy of `graph` without such writes; the graph itself if there are none."""
    if not _written_to_be_read(graph):
        return graph
    copied = Graph.copy_of(graph)
    for node, followers in reversed(_written_to_be_read(copied).items()):
        base, value, *_ = node.args
        for one in followers:
            if one.target is aten.select_scatter.default:
                one.args = (base, *one.args[1:])
            else:
                one.replace_all_uses_with(value)  # pyright: ignore[reportArgumentType]
        for unused in (*node.users, node):
            copied.erase_node(unused)
    return copied


def _written_to_be_read(graph: fx.Graph) -> dict[fx.Node, list[fx.Node]]:
    """Such writes, the last one first, each with what reads what it has written, or writes it anew.

    Of writes to one place all are left out or none: of a row that a loop fills, the last one would be another step.
    """
    found: dict[fx.Node, list[fx.Node]] = {}
    for write in reversed(graph.find_nodes(op="call_function", target=aten.select_scatter.default)):
        live = [user for user in write.users if user.users or not is_view(user)]
        place = _place(write)
        if live and place and all(_place(one) == place and _fits(one, write, found) for one in live):
            found[write] = live
    return found


def _place(node: fx.Node) -> tuple[int, int] | None:
    """The dimension and the entry along it that a call reads or writes, if it is one, the same in every run."""
    if node.target is aten.select.int:
        x, dim, index = arguments(node)
    elif node.target is aten.select_scatter.default:
        x, _, dim, index = arguments(node)
    else:
        return None
    shape = x.meta["spec"].shape
    return (dim % len(shape), index % shape[dim]) if isinstance(dim, int) and isinstance(index, int) else None


def _fits(follower: fx.Node, write: fx.Node, found: Collection[fx.Node]) -> bool:
    """Whether a reader sees what was written as it is, and is none of the results; or is a write that is left out."""
    value = write.args[1]
    assert isinstance(value, fx.Node)
    if follower.target is aten.select_scatter.default:
        return follower in found and follower.args[0] is write and follower.args[1] is not write
    seen, written = follower.meta["spec"], value.meta["spec"]
    is_alike = seen.dtype == written.dtype and (is_contiguous(written) or lies_as(written, seen))
    return is_alike and all(user.op != "output" for user in follower.users)
