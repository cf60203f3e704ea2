"""What a tensor knows about its memory, its history and its hooks."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from fxsolve.torch_compat.checks import getter, lookup, relied_on

with relied_on():
    from torch import _debug_has_internal_overlap, _neg_view, _sync  # pyright: ignore[reportPrivateImportUsage]
    from torch._C._dynamo.guards import TensorGuards
    from torch.autograd.grad_mode import _unsafe_preserve_version_counter

# How often autograd saw a write into the tensor; inference tensors raise an error.
write_count_of: Callable[[Tensor], int] = getter(Tensor, "_version")
# The tensor that autograd knows a view as a view of, or None.
base_of: Callable[[Tensor], Tensor | None] = getter(Tensor, "_base")
is_view: Callable[[Tensor], bool] = lookup(Tensor, "_is_view")
hooks_of: Callable[[Tensor], Any] = getter(Tensor, "_backward_hooks")
accumulation_hooks_of: Callable[[Tensor], Any] = getter(Tensor, "_post_accumulate_grad_hooks")
typed_storage: Callable[[Tensor], torch.TypedStorage] = lookup(Tensor, "_typed_storage")

# The negated values by a flag, as a view; the one way to set it for a real tensor.
negative_view: Callable[[Tensor], Tensor] = _neg_view

# In `torch.func.functionalize`: let a view see the writes since it was made, now and not where it is first used.
bring_up_to_date: Callable[[Tensor], None] = _sync

# What tells C++ objects apart, whose Python objects come and go.
address_of_storage: Callable[[torch.UntypedStorage], int] = getter(torch.UntypedStorage, "_cdata")
address_of_generator: Callable[[torch.Generator], int] = getter(torch.Generator, "_cdata")

# Copies the second tensors into the first ones, in one call.
copy_each: Callable[[Sequence[Tensor], Sequence[Tensor]], object] = lookup(torch, "_foreach_copy_")

# Called with a tuple of tensors: in the body writes into them are not counted.
uncounted_writes = _unsafe_preserve_version_counter


FormCheck = Callable[[Sequence[Tensor]], bool]


def form_check(tensors: Sequence[Tensor]) -> FormCheck:
    """Whether others have the types, shapes, strides, dtypes, devices, flags and wishes for gradients of these.

    False too for some that have them: where one comes twice, or in another mode of torch.
    """
    sizes, strides = ([list(form(tensor)) for tensor in tensors] for form in (Tensor.size, Tensor.stride))
    guards: Any = TensorGuards(*tensors, dynamic_dims_sizes=sizes, dynamic_dims_strides=strides)  # pyright: ignore
    return lambda others: guards.check(*others)


def overlaps_itself(tensor: Tensor) -> bool:
    """Whether some entries certainly share memory, as where a stride is 0."""
    return _debug_has_internal_overlap(tensor) == 1
