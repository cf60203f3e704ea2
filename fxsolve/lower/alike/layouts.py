"""How weights lie beside features (L, W, ...), of which L blocks read up to W channels."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from fxsolve.ir.tensor_spec import TensorSpec, spec_of
from fxsolve.lower.alike.kinds import call_of, contracted
from fxsolve.ops.access import Convolution
from fxsolve.ops.call import Call
from fxsolve.solvers.alike import ChannelSum, PatchSum, Sum

# Takes a stack (L, *shape), and which channels are valid, (L, W), where the stack has entries for channels.
Layout = Callable[[Tensor, Tensor | None], Tensor]


def beside(dim: int, rank: int) -> Layout:
    """As an operand of features that were tensors of some rank, with their channels at `dim`."""

    def lay_out(made: Tensor, valid: Tensor | None) -> Tensor:
        wide = made.reshape(len(made), *[1] * (rank + 1 - made.dim()), *made.shape[1:])
        return _masked(wide.movedim(dim + 1, 1), valid, 1)

    return lay_out


def _masked(made: Tensor, valid: Tensor | None, dim: int) -> Tensor:
    """Zero where a block has no channel: there may be anything, as 1 / 0, of what was padded."""
    if valid is None:
        return made
    shape = [made.shape[k] if k in (0, dim) else 1 for k in range(made.dim())]
    return made.masked_fill(~valid.reshape(shape), 0)


class SumOver:
    """A call that sums over the channels of features, with weights."""

    def __init__(self, node: fx.Node, dim: int) -> None:
        call: Any = call_of(node)
        parts: Any = contracted(call, dim)
        self.node, self.dim = node, dim
        self.source, self.weight, self.bias = parts
        self.is_window = call.fact.access == Convolution()
        self.method: Sum = _window(call) if self.is_window else ChannelSum()

    def lay_out_weight(self, made: Tensor, valid: Tensor | None) -> Tensor:
        """(L, O, W), or (L, O, W, *window)."""
        first = _masked(made if self.is_window else made.transpose(1, 2), valid, 2)
        return first.flatten(2).contiguous() if isinstance(self.method, ChannelSum) else first

    def lay_out_bias(self, made: Tensor, _: Tensor | None) -> Tensor:
        """As the method adds it: (L, O, 1), or (L, 1, O, 1, ...)."""
        if isinstance(self.method, ChannelSum):
            return made.unsqueeze(2)
        return made.reshape(len(made), 1, -1, *[1] * len(self.method.stride))

    def lay_out_no_bias(self, made: Tensor, _: Tensor | None) -> Tensor:
        """Zeros, made like weights."""
        return self.lay_out_bias(made.new_zeros(len(made), made.shape[1 if self.is_window else 2]), None)

    def spec_of_all(self, count: int) -> TensorSpec:
        """That of the sums of so many blocks, (L, *shape), laid out as the method makes them."""
        spec: TensorSpec = self.node.meta["spec"]
        sums = torch.empty((count, *spec.shape), dtype=spec.dtype, device="meta")
        here, there = (1 + self.dim, 1) if isinstance(self.method, ChannelSum) else (0, 1)
        ordered = sums.movedim(here, there).contiguous()
        return spec_of(ordered.movedim(there, here), spec.device)


def _window(call: Call) -> Sum:
    """How the sums of a convolution are made: one that looks at one place is a product."""
    looks_at_one = all(size == 1 for size in call["weight"].meta["spec"].shape[2:])
    if looks_at_one and all(step == 1 for step in call["stride"]) and not any(call["padding"]):
        return ChannelSum()
    return PatchSum(tuple(call["stride"]), tuple(call["padding"]), tuple(call["dilation"]))
