"""Gradients with respect to what layers read, as calls that can be made for many layers at once."""

import torch
from torch import Tensor, fx

from fxsolve.ir.builder import stand_in
from fxsolve.lower.alike.norms import beside_channels, same_type, scale_of
from fxsolve.ops.call import Call, bind

aten = torch.ops.aten


def scaled_back(graph: fx.Graph, call: Call, first: fx.Node) -> fx.Node | None:
    """The gradient behind a norm with fixed statistics: each channel times a number."""
    if call.target is not aten.native_batch_norm_backward.default or call["train"] or call["running_var"] is None:
        return None
    if not same_type(call["running_var"], call["grad_out"]):
        return None
    scale = beside_channels(graph, scale_of(graph, call), first)
    return stand_in(graph, first, aten.mul.Tensor, (call["grad_out"], scale))


def convolved_back(graph: fx.Graph, call: Call, first: fx.Node) -> fx.Node | None:
    """The gradient behind a convolution: a convolution the other way round."""
    if call.target is not aten.convolution_backward.default or call["transposed"]:
        return None
    over = zip(
        call["input"].meta["spec"].shape[2:],
        call["grad_output"].meta["spec"].shape[2:],
        call["weight"].meta["spec"].shape[2:],
        *(call[name] for name in ("stride", "padding", "dilation")),
        strict=True,
    )
    # Of what a stride leaves over at the end, nothing was read: these entries get no gradient.
    more = [size - (out - 1) * step + 2 * pad - wide * (window - 1) - 1 for size, out, window, step, pad, wide in over]
    numbers = (call["stride"], call["padding"], call["dilation"], True, more, call["groups"])
    return stand_in(graph, first, aten.convolution.default, (call["grad_output"], call["weight"], None, *numbers))


def mix_channels(graph: fx.Graph) -> None:
    """Let products make the convolutions that look at one place."""
    for node in graph.find_nodes(op="call_function", target=aten.convolution.default):
        call = bind(aten.convolution.default, node.args, node.kwargs, node.meta.get("spec"))
        window = call["weight"].meta["spec"].shape[2:]
        is_plain = all(size == 1 for size in (*window, *call["stride"])) and not any(call["padding"])
        if is_plain and call["transposed"] and call["groups"] == 1 and call["bias"] is None:
            node.target, node.args = channels_of, (call["input"], call["weight"])


def channels_of(grad: Tensor, weight: Tensor) -> Tensor:
    """sum_o weight[o, c] grad[:, o, ...] for each c: (B, O, ...) and (O, C, 1, ...) give (B, C, ...)."""
    return (weight.flatten(1).t() @ grad.flatten(2)).unflatten(2, grad.shape[2:])
