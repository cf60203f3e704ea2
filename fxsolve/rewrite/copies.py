"""Entries that a loop overwrites whole are not read."""

import torch
from torch import fx

from fxsolve.ir.bodies import OpenRepeat
from fxsolve.ir.builder import add_call, stand_in

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
