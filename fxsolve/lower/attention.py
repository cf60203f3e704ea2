"""Fused attention of many steps at once, for kernels without a batching rule: the steps become more samples."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fxsolve.errors import PartitionError
from fxsolve.ir.bodies import OpenRepeat
from fxsolve.ops.access import Attention
from fxsolve.ops.call import bind
from fxsolve.ops.facts import access_of
from fxsolve.torch_compat.operators import OpOverload, has_batching_rule


class _Attend(torch.autograd.Function):
    """run(query, key, value, mask); batched, it is one call for the T * N samples of all steps."""

    @staticmethod
    def forward(run: Callable[..., Any], *tensors: Tensor | None) -> Any:
        return run(*tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing is saved: sweeps are not differentiated."""

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        raise PartitionError("the Jacobian of scaled_dot_product_attention is not known to fxsolve, that of softmax is")

    @staticmethod
    def vmap(  # pyright: ignore[reportIncompatibleMethodOverride]
        info: Any, in_dims: tuple[int | None, ...], run: Callable[..., Any], *tensors: Tensor | None
    ) -> Any:
        pairs = list(zip(tensors, in_dims[1:], strict=True))
        stacks = [one if one is None else _of_steps(one, dim, info.batch_size) for one, dim in pairs]
        samples = max(one.shape[1] for one in stacks if one is not None)
        results: Any = _Attend.apply(run, *(one if one is None else _folded(one, samples) for one in stacks))
        return tuple(one.unflatten(0, (info.batch_size, -1)) for one in results), tuple(0 for _ in results)


def _of_steps(x: Tensor, dim: int | None, steps: int) -> Tensor:
    """(T, N, H, L, E); what is the same at every step is repeated."""
    return x.expand(steps, *x.shape) if dim is None else x.movedim(dim, 0)


def _folded(x: Tensor, samples: int) -> Tensor:
    """(T * N, H, L, E); a mask for all samples is repeated."""
    return x.expand(-1, samples, -1, -1, -1).flatten(0, 1)


def attend(target: OpOverload, *args: Any, **kwargs: Any) -> Any:
    """What the op `target` returns, an attention over samples and heads, (N, H, L, E); masks may be (L, S)."""
    call = bind(target, args, kwargs, None)
    names = ("query", "key", "value", "attn_mask")

    def run(*tensors: Tensor | None) -> Any:
        return call.run(dict(zip(names, tensors, strict=True)))

    return _Attend.apply(run, call["query"], call["key"], call["value"], _wide(call["attn_mask"]))


def attended(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """What `scaled_dot_product_attention` returns, by whatever kernel it takes."""

    def run(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> tuple[Tensor]:
        return (F.scaled_dot_product_attention(query, key, value, attn_mask=mask),)

    return _Attend.apply(run, query, key, value, _wide(mask))[0]


def _wide(mask: Tensor | None) -> Tensor | None:
    return mask[None, None] if mask is not None and mask.dim() == 2 else mask


def is_folded(target: OpOverload) -> bool:
    """Whether `attend` runs an op, as torch has no batching rule for it."""
    return access_of(target) == Attention() and not has_batching_rule(target)


def attend_by_samples(opened: OpenRepeat) -> None:
    """Let `attend` run the ops of an open body that have no batching rule."""
    for node in opened.graph.nodes:
        if isinstance(node.target, OpOverload) and is_folded(node.target):
            node.args = (node.target, *node.args)
            node.target = attend
