"""Gradients with respect to what layers read, as calls that can be made for many layers at once."""

import torch
from torch import fx

from fxsolve.ir.builder import stand_in
from fxsolve.lower.alike.norms import beside_channels, same_type, scale_of
from fxsolve.ops.call import Call

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
