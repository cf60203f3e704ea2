"""Values of the first step, as long as those of the last one."""

import torch
from torch import fx

from fxsolve.ir.builder import add_call

aten = torch.ops.aten
_PLACES = (torch.int64, torch.int32)


def widened(
    graph: fx.Graph, node: fx.Node, widths: tuple[int, ...], like: fx.Node, number: float | None = None
) -> fx.Node:
    """A value with entries behind its own, as many as it takes to be as wide as `widths`.

    They are that `number`, or zeros; of integers along one dimension, they are the last entry again: what is looked up
    there is what the program looks up, as nothing is known of the row of a table that it never reads.
    """
    spec = node.meta["spec"]
    dims = [dim for dim, width in enumerate(widths) if width != spec.shape[dim]]
    if number is None and spec.dtype in _PLACES and len(dims) == 1 and spec.shape[dims[0]]:
        return _repeated(graph, node, dims[0], widths[dims[0]], like)
    pairs = zip(reversed(spec.shape), reversed(widths), strict=True)
    pads = [pad for size, width in pairs for pad in (0, width - size)]
    return add_call(graph, aten.constant_pad_nd.default, (node, pads, number or 0), like=like)


def _repeated(graph: fx.Graph, node: fx.Node, dim: int, width: int, like: fx.Node) -> fx.Node:
    shape = list(node.meta["spec"].shape)
    size, shape[dim] = shape[dim], width - shape[dim]
    last = add_call(graph, aten.slice.Tensor, (node, dim, size - 1, size), like=like)
    rest = add_call(graph, aten.expand.default, (last, shape), like=like)
    return add_call(graph, aten.cat.default, ([node, rest], dim), like=like)
