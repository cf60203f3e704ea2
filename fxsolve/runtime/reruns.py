"""Derivatives that can be differentiated again: a rerun of the program finds them, on the graph of the call's results.

The program's own backward pass reads results, as that of `tanh` does; that of the rerun reads the likes of these. What
a second pass brings to a like goes to the result, which leads further back, as in the program's own graph.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fxsolve.capture.backward.boundary import BoundedResults

Found = tuple[Tensor | None, ...]
Pair = tuple[Tensor, Tensor]


def lead(found: Found, pairs: Sequence[Pair]) -> Found:
    """The same derivatives, whose graph ends at the second tensor of each pair where it came to the first one."""
    distinct = {id(end): (end, tensor) for end, tensor in pairs if end.requires_grad}
    places = [k for k, one in enumerate(found) if one is not None and one.requires_grad]
    if not places:
        return found
    ends, tensors = zip(*distinct.values(), strict=True)
    made: Any = _Led.apply(_Graph(tuple(found[k] for k in places), ends), *tensors)  # pyright: ignore
    led = dict(zip(places, made, strict=True))
    return tuple(led.get(k, one) for k, one in enumerate(found))


def apart(tensors: Found) -> Found:
    """Tensors of no graph with the same values, which want gradients where these do."""
    return tuple(one if one is None else one.detach().requires_grad_(one.requires_grad) for one in tensors)


def pairs_of(ends: Found, tensors: Found) -> list[Pair]:
    """The pairs where there are tensors."""
    pairs = zip(ends, tensors, strict=True)
    return [(end, tensor) for end, tensor in pairs if end is not None and tensor is not None]


@dataclass(frozen=True)
class _Graph:
    """Derivatives, and the tensors at which their graph ends."""

    found: tuple[Tensor, ...]
    ends: tuple[Tensor, ...]


class _Led(torch.autograd.Function):
    """Derivatives as they are; behind them, the parts of the ends go to the tensors in their place."""

    @staticmethod
    def forward(ctx: Any, graph: _Graph, *tensors: Tensor) -> tuple[Tensor, ...]:  # pyright: ignore
        ctx.graph = graph
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        return tuple(one.detach() for one in graph.found)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Any, ...]:  # pyright: ignore
        graph, tensors, wants_graph = ctx.graph, ctx.saved_tensors, torch.is_grad_enabled()
        given = apart(cotangents)
        chosen = [pair for pair in zip(graph.found, given, strict=True) if pair[1] is not None]
        if not chosen:
            return (None,) * (1 + len(tensors))
        found, weights = zip(*chosen, strict=True)
        parts: Found = BoundedResults(found, graph.ends).differentiate(graph.ends, weights, wants_graph)
        pairs = [*zip(graph.ends, tensors, strict=True), *pairs_of(given, cotangents)]
        return (None, *(lead(parts, pairs) if wants_graph else parts))
