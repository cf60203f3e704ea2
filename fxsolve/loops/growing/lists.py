"""Lists that grow by one and are joined anew at each step become chains of joins.

stack([a, b, c]) after stack([a, b])  =  cat(stack([a, b]), c.unsqueeze(dim))
"""

from typing import Any

import torch
from torch import fx

from fxsolve.ir.builder import add_call, stand_in
from fxsolve.ir.calls import join_dim

aten = torch.ops.aten


def chain_lists(graph: fx.Graph) -> None:
    """Rewrite each join whose list begins with that of an earlier one."""
    latest: dict[Any, fx.Node] = {}
    for node in list(graph.nodes):
        if node.target not in (aten.stack.default, aten.cat.default) or node.op != "call_function":
            continue
        pieces = list(node.args[0])  # pyright: ignore[reportArgumentType]
        key = (node.target, join_dim(node), pieces[0])
        before = latest.get(key)
        if before is not None and _goes_on(before, node):
            latest[key] = _extend(graph, before, node, pieces)
        else:
            latest[key] = node
    for node in [node for node in graph.nodes if "pieces" in node.meta]:
        del node.meta["pieces"]


def _pieces(node: fx.Node) -> list[fx.Node]:
    return node.meta.get("pieces") or list(node.args[0])  # pyright: ignore[reportArgumentType]


def _goes_on(before: fx.Node, node: fx.Node) -> bool:
    old, new = _pieces(before), _pieces(node)
    return (
        len(old) < len(new)
        and new[: len(old)] == old
        and all(piece.meta["spec"].dtype == node.meta["spec"].dtype for piece in new)
        and all(len(piece.meta["spec"].shape) == len(new[-1].meta["spec"].shape) for piece in new)
    )


def _extend(graph: fx.Graph, before: fx.Node, node: fx.Node, pieces: list[fx.Node]) -> fx.Node:
    dim = join_dim(node)
    new: list[fx.Node] = []
    with graph.inserting_before(node):
        for piece in pieces[len(_pieces(before)) :]:
            wide = node.target is aten.stack.default
            new.append(add_call(graph, aten.unsqueeze.default, (piece, dim), like=piece) if wide else piece)
        made = stand_in(graph, node, aten.cat.default, ([before, *new], dim))
    made.meta["pieces"] = pieces
    node.replace_all_uses_with(made, propagate_meta=False)
    graph.erase_node(node)
    return made
