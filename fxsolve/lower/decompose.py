"""Operators without a batching rule, taken apart into others that have one."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from fxsolve.errors import PartitionError
from fxsolve.lower.layers import encoder_layer, multi_head_attention
from fxsolve.ops.access import SameEntries
from fxsolve.ops.facts import access_of
from fxsolve.torch_compat.operators import OpOverload, decompositions, has_batching_rule, lstm_layer

aten = torch.ops.aten


def _copied(x: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    return source.to(dtype=x.dtype, device=x.device).expand(x.shape)


_MOST_STEPS = 32  # of an LSTM within a step: each takes about twenty calls


def _lstm_layer(x: Tensor, *args: Any) -> tuple[Tensor, ...]:
    """A layer of an LSTM, but for the workspace that the backward pass of the operator reads."""
    *weights, h, c, reverse, _, _, _, _, has_biases, _, _, is_trained = args
    if is_trained:
        raise PartitionError("an LSTM whose gradients are wanted keeps what only its own backward pass reads")
    if len(x) > _MOST_STEPS:
        raise PartitionError(
            f"it runs an LSTM over {len(x)} steps, more than {_MOST_STEPS}, which would be written out"
        )
    y, (h_end, c_end) = lstm_layer(x, (h.view(h.shape[-2:]), c.view(c.shape[-2:])), weights, has_biases, reverse)
    return y, h_end.view(h.shape), c_end.view(c.shape), x.new_empty(0)


def decompose(graph: fx.Graph) -> None:
    """Let other operators compute what has no batching rule."""
    for node in graph.find_nodes(op="call_function", target=aten.slice_scatter.default):
        node.args = _within(*node.args)
    for node in graph.nodes:
        if isinstance(node.target, OpOverload) and not has_batching_rule(node.target):
            node.target = parts_of(node.target) or node.target


def _within(into: fx.Node, source: fx.Node, dim: int = 0, *bounds: Any) -> tuple[Any, ...]:
    """The arguments of a write into a slice with both ends inside, as its batching rule takes them to be."""
    size = into.meta["spec"].shape[dim]
    if not all(bound is None or isinstance(bound, int) for bound in (*bounds, size)):
        return into, source, dim, *bounds
    start, stop, step = slice(*(*bounds, None, None, None)[:3]).indices(size)
    return into, source, dim, start, max(start, stop), step


def parts_of(target: OpOverload) -> Callable[..., Any] | None:
    """A function that gives the results of an operator by others."""
    if target is aten.copy.default or target is aten.fill.Tensor:  # which torch takes apart into `copy`
        return _copied
    if target is aten.mkldnn_rnn_layer.default:
        return _lstm_layer
    if target is aten._transformer_encoder_layer_fwd.default:
        return encoder_layer
    if target is aten._native_multi_head_attention.default:
        return multi_head_attention
    if access_of(target) == SameEntries():
        return aten.clone.default
    if target is aten.multilabel_margin_loss_forward.default:
        return None  # torch writes it by others that count what stands behind the first label of -1
    return decompositions.get(target)
