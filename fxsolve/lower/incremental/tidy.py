"""Calls of a traced stage that change nothing, and chains of moves that are one view."""

from torch import Tensor, fx

from fxsolve.ir.calls import aten
from fxsolve.lower.incremental.moves import call_of
from fxsolve.ops.access import Expanded, Permuted, Reshaped
from fxsolve.ops.call import order_of


def tidy(graph: fx.Graph) -> None:
    """Drop calls whose result is their argument, and make one view of several that keep entries in their order."""
    for node in graph.nodes:
        if node.op != "call_function" or not _keeps_order(node):
            continue
        (source,) = node.all_input_nodes
        if source.target is aten.reshape.default:
            (source,) = source.all_input_nodes
        node.target, node.args, node.kwargs = aten.reshape.default, (source, list(node.meta["val"].shape)), {}
        if source.meta["val"].shape == node.meta["val"].shape:
            node.replace_all_uses_with(source)
    graph.eliminate_dead_code()


def _keeps_order(node: fx.Node) -> bool:
    """Whether a call is a view, or moves nothing but dimensions of size 1."""
    made = node.meta.get("val")
    if not isinstance(made, Tensor) or len(node.all_input_nodes) != 1:
        return False
    given = node.all_input_nodes[0].meta["val"]
    if not isinstance(given, Tensor) or made.numel() != given.numel() or node.target is aten.alias.default:
        return node.target is aten.alias.default
    call = call_of(node)
    if not isinstance(call.fact.access, Permuted):
        return isinstance(call.fact.access, Reshaped | Expanded)
    wide = [dim for dim, size in enumerate(given.shape) if size > 1]
    return [dim for dim in order_of(call, given.dim()) if dim in wide] == wide
