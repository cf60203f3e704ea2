"""Which writes into a tensor from outside can be made again by copying its new values."""

from typing import Any

import torch
from torch import Tensor

from fxsolve.state.memory import is_dense, is_within
from fxsolve.torch_compat.operators import OpOverload, schema_of
from fxsolve.torch_compat.tensors import base_of
from fxsolve.torch_compat.trees import pytree


def why_not_again(
    function: OpOverload, target: Tensor, tensor: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> str | None:
    """Why a write is more than new values, or None."""
    if torch.Tag.inplace_view in function.tags:
        return "and changes its shape or memory"
    if not is_dense(tensor):
        return "and whose entries share memory or leave gaps in it"
    if tensor.is_conj() or tensor.is_neg():
        return "and whose entries are not what its memory holds"
    if not is_within(target, tensor):
        return "beyond its end"
    joins = torch.is_grad_enabled() and _returns_target(function) and not _has_own_graph(target, tensor)
    if joins and any(t.requires_grad for t in _tensors((args, kwargs))):
        return "and lets gradients flow through it"
    out = [argument.name for argument in schema_of(function).arguments if argument.is_out]
    if out and torch.Tag.nondeterministic_seeded in function.tags:
        return "and draws random numbers"
    if out and not _fits(function, out, args, kwargs):
        return "and changes its shape"
    return None


def _has_own_graph(target: Tensor, tensor: Tensor) -> bool:
    """Whether autograd takes `target` for no part of `tensor`, as what `.data` and `detach` give is none."""
    return not tensor.requires_grad and target is not tensor and base_of(target) is not tensor


def _returns_target(function: OpOverload) -> bool:
    """Whether autograd treats the target as a result; running statistics are none."""
    returns = schema_of(function).returns
    return not returns or any(result.alias_info is not None for result in returns)


def _fits(function: OpOverload, out: list[str], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether results have the shapes of the tensors that are to hold them, found by computing them elsewhere."""
    given = {name: kwargs[name] for name in out if name in kwargs}
    fresh = pytree.tree_map_only(Tensor, lambda tensor: tensor.new_empty(0), given)
    function(*args, **{**kwargs, **fresh})
    return all(a.shape == b.shape for a, b in zip(_tensors(given), _tensors(fresh), strict=True))


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]
