"""Entries that a loop overwrites are not read; copies of what nothing writes into, and views that show it as it is, are
not made.
"""

import torch
from torch import fx

from fxsolve.ir.bodies import OpenRepeat
from fxsolve.ir.builder import add_call, stand_in
from fxsolve.ir.calls import is_view
from fxsolve.ir.strides import lies_as
from fxsolve.ops.access import Expanded, Permuted, Reshaped
from fxsolve.ops.facts import access_of

aten = torch.ops.aten


def simplify_copies(opened: OpenRepeat) -> None:
    """copy(old, new) is new where both have one shape and dtype: the old entry is not read at all."""
    for node in opened.computed():
        if node.target is not aten.copy.default:
            continue
        old, new = node.args[:2]
        if not isinstance(old, fx.Node) or not isinstance(new, fx.Node):
            continue  # a number
        if old.meta["spec"][::2] == new.meta["spec"][::2]:
            opened.replace(node, new)
        else:
            with opened.graph.inserting_before(node):
                shape, dtype = old.meta["spec"].shape, old.meta["spec"].dtype
                cast = add_call(opened.graph, aten._to_copy.default, (new,), {"dtype": dtype}, node)
                same = new.meta["spec"].shape == shape
                wide = cast if same else stand_in(opened.graph, node, aten.expand.default, (cast, list(shape)))
            opened.replace(node, wide)


def read_written(opened: OpenRepeat) -> None:
    """An entry that a step reads behind its own write there is what it wrote, if that lies in memory as the entry."""
    for node in opened.computed():
        if node.target is not aten.select.int:
            continue
        base, *place = node.args
        if not isinstance(base, fx.Node) or base.target is not aten.select_scatter.default:
            continue
        value = base.args[1]
        assert isinstance(value, fx.Node)
        one, other = value.meta["spec"], node.meta["spec"]
        if list(base.args[2:]) == place and one[::2] == other[::2] and lies_as(one, other):
            opened.replace(node, value)


def drop_clones(opened: OpenRepeat) -> None:
    """A clone is what it was made of, unless a step returns it: that must not share the memory of anything else.

    One of a given layout is kept: calls may read it as it lies in memory.
    """
    returned = _returned(opened)
    for node in opened.computed():
        if node.target is aten.clone.default and not node.kwargs and node not in returned:
            opened.replace(node, node.all_input_nodes[0])


def drop_views(opened: OpenRepeat) -> None:
    """A view that shows a tensor as it lies in memory, through other views or not, is the tensor, unless returned.

    Products of batches of matrices are made of many of them.
    """
    returned = _returned(opened)
    for node in opened.computed():
        tensor = None if node in returned else _shown(node)
        if tensor is not None:
            opened.replace(node, tensor)
        elif node.target is aten.view.default:
            _look_through(node)


def _returned(opened: OpenRepeat) -> set[fx.Node]:
    return {*opened.steps.values(), *opened.lasts.values(), *opened.feeds.values()}


def _shown(view: fx.Node) -> fx.Node | None:
    """The tensor of which a view shows every entry in its place."""
    tensor, spec = view, view.meta["spec"]
    while _shows_all(tensor):
        tensor = tensor.all_input_nodes[0]
        other = tensor.meta["spec"]
        # Of the same memory, what has the same sizes and strides has the same entries.
        if other[::2] == spec[::2] and lies_as(other, spec):
            return tensor
    return None


def _look_through(view: fx.Node) -> None:
    """Let a view of another shape look at the tensor that views of other shapes before it look at."""
    tensor = view.all_input_nodes[0]
    while is_view(tensor) and access_of(tensor.target) == Reshaped():
        tensor = tensor.all_input_nodes[0]
    view.args = (tensor, *view.args[1:])


def _shows_all(node: fx.Node) -> bool:
    """Whether a call looks at all entries of a tensor."""
    is_one = is_view(node) or node.target is aten._unsafe_view.default
    return is_one and access_of(node.target) in (Permuted(), Reshaped(), Expanded())
