"""Batching takes `addmm` apart; put together again, a sweep passes over its result once, as each step does."""

import torch
from torch import fx

from fxsolve.ir.builder import stand_in
from fxsolve.ops.access import Reshaped
from fxsolve.ops.facts import access_of

aten = torch.ops.aten


def join_bias(graph: fx.Graph) -> None:
    """add(bias, view(mm(a, b))) with a vector as bias is view(addmm(bias, a, b))."""
    for node in graph.find_nodes(op="call_function", target=aten.add.Tensor):
        found = _parts(node)
        if found is None:
            continue
        bias, product = found
        with graph.inserting_before(node):
            joined = stand_in(graph, product, aten.addmm.default, (bias, *product.args))
            shaped = stand_in(graph, node, aten._unsafe_view.default, (joined, list(node.meta["val"].shape)))
        node.replace_all_uses_with(shaped)
        graph.erase_node(node)


def _parts(node: fx.Node) -> tuple[fx.Node, fx.Node] | None:
    """The bias and the product behind a sum of this form."""
    if node.kwargs or len(node.args) != 2 or not all(isinstance(argument, fx.Node) for argument in node.args):
        return None
    for bias, view in (node.args, node.args[::-1]):
        product = view.args[0] if access_of(view.target) == Reshaped() else None  # pyright: ignore
        if isinstance(product, fx.Node) and product.target is aten.mm.default and _fits(bias, view, product, node):
            return bias, product  # pyright: ignore[reportReturnType]
    return None


def _fits(bias: object, view: object, product: fx.Node, node: fx.Node) -> bool:
    assert isinstance(bias, fx.Node) and isinstance(view, fx.Node)
    added, made, whole = bias.meta["val"], product.meta["val"], node.meta["val"]
    alone = len(product.users) == 1 and len(view.users) == 1
    vector = added.dim() == 1 and added.shape == made.shape[-1:] and view.meta["val"].shape[-1] == added.shape[0]
    return alone and vector and whole.shape == view.meta["val"].shape and added.dtype == made.dtype == whole.dtype
