"""Views that undo one another are left out: the last of them is the tensor that the first one looked at.

y = linear(x)           is a view of rows of all steps: every write into y is in the record one into these rows, and
y[t] += f(y[t - 1])     y is looked at anew behind each:  view(view(y, [T * B, n]), [T, B, n])
"""

import torch
from torch import fx

from fxsolve.ir.builder import add_call
from fxsolve.ir.calls import is_view
from fxsolve.ir.strides import is_contiguous
from fxsolve.ops.access import Permuted, Reshaped
from fxsolve.ops.facts import access_of
from fxsolve.torch_compat.graphs import Graph

aten = torch.ops.aten


def undo_views(graph: fx.Graph) -> fx.Graph:
    """A copy of `graph` without them; the graph itself if there are none."""
    if not _writes_rows(graph) or all(_undone(node) is None and not _adds_views_of_rows(node) for node in graph.nodes):
        return graph
    copied = Graph.copy_of(graph)
    views: dict[tuple[object, str], fx.Node] = {}
    for node in copied.nodes:
        if _adds_views_of_rows(node):
            _add_first(copied, node)
        elif _is_whole_view(node) and not any(user.op == "output" for user in node.users):
            # The first step looks at a tensor twice, to read and to write; later ones do not.
            tensor = _undone(node) or views.setdefault((node.target, str((node.args, node.kwargs))), node)
            if tensor is not node:
                node.replace_all_uses_with(tensor)
                copied.erase_node(node)
    return copied


def _undone(node: fx.Node) -> fx.Node | None:
    """The tensor that a view of a view of it is, entry by entry and as it lies in memory; none for a result."""
    if not _is_whole_view(node) or any(user.op == "output" for user in node.users):
        return None
    looked_at = node.all_input_nodes[0]
    while _is_whole_view(looked_at):
        looked_at = looked_at.all_input_nodes[0]
        # Of the same memory, what has the same sizes and strides has the same entries.
        if _has_row(looked_at) and looked_at.meta["spec"] == node.meta["spec"]:
            return looked_at
    return None


def _is_whole_view(node: fx.Node) -> bool:
    """Whether a call looks at all entries of a tensor, in the same order or turned."""
    return access_of(node.target) in (Permuted(), Reshaped()) and is_view(node)


def _has_row(tensor: fx.Node) -> bool:
    """Whether a row was just written into a tensor, or added to it: steps may be unlike in the views of others."""
    is_sum = tensor.target is aten.add.Tensor
    return any(map(_is_row, (tensor, *(tensor.all_input_nodes if is_sum else ()))))


def _is_row(tensor: fx.Node) -> bool:
    return tensor.target in (aten.select_scatter.default, aten.select_backward.default)


def _writes_rows(graph: fx.Graph) -> bool:
    """Whether any row is written; to ask that takes no look at every call."""
    rows = aten.select_scatter.default, aten.select_backward.default
    return any(graph.find_nodes(op="call_function", target=one, sort=False) for one in rows)


def _adds_views_of_rows(node: fx.Node) -> bool:
    """Whether a call adds two tensors, one of them with a row that was written, that are looked at in one other way."""
    views = node.all_input_nodes
    if node.target is not aten.add.Tensor or len(views) != 2 or node.kwargs or not all(map(_is_whole_view, views)):
        return False
    one, other = map(_looked_at, views)
    specs = [tensor.meta["spec"] for tensor in (one, other, *views)]
    is_alike = specs[0] == specs[1] and specs[2] == specs[3] and all(map(is_contiguous, specs))
    return is_alike and any(map(_is_row, (one, other)))


def _looked_at(view: fx.Node) -> fx.Node:
    while _is_whole_view(view):
        view = view.all_input_nodes[0]
    return view


def _add_first(graph: fx.Graph, node: fx.Node) -> None:
    """Replace view(x) + view(y) by view(x + y)."""
    tensors = tuple(map(_looked_at, node.all_input_nodes))
    with graph.inserting_before(node):
        added = add_call(graph, aten.add.Tensor, tensors, like=node)
        made = add_call(graph, aten.view.default, (added, list(node.meta["spec"].shape)), like=node)
    node.replace_all_uses_with(made)
    graph.erase_node(node)
