"""Memory that tensors lie on: which share it, and what lies within what."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from fxsolve.solvers.memory import span_of
from fxsolve.torch_compat.tensors import address_of_storage, write_count_of


def storage_of(tensor: Tensor) -> int:
    """A number that tensors on the same memory share."""
    return address_of_storage(tensor.untyped_storage())


def is_same_memory(one: Tensor, other: Tensor) -> bool:
    """Whether both tensors have the same entries of the same memory, read in the same way."""
    return (
        storage_of(one) == storage_of(other)
        and (one.shape, one.stride(), one.storage_offset()) == (other.shape, other.stride(), other.storage_offset())
        and (one.dtype, one.is_conj(), one.is_neg()) == (other.dtype, other.is_conj(), other.is_neg())
    )


def storages_of(tensors: Iterable[Tensor]) -> Iterator[int]:
    """`storage_of` of many tensors."""
    return map(address_of_storage, map(Tensor.untyped_storage, tensors))


def version_of(tensor: Tensor) -> int | None:
    """How often autograd saw a write into the tensor; None where it does not count."""
    return None if tensor.is_inference() else write_count_of(tensor)


def is_dense(tensor: Tensor) -> bool:
    """Whether the entries fill their memory, each on its own, in any order of the dimensions."""
    return torch.ops.aten.is_non_overlapping_and_dense.default(tensor)


def is_within(view: Tensor, tensor: Tensor) -> bool:
    """Whether all entries of `view` are on the memory of `tensor`, which has no gaps."""
    if not view.numel():
        return True
    first = view.storage_offset() * view.itemsize - tensor.storage_offset() * tensor.itemsize
    return first >= 0 and first + span_of(view) * view.itemsize <= tensor.numel() * tensor.itemsize


def copy_of(tensor: Tensor) -> Tensor:
    """A detached copy; with the same strides, if the entries fill their memory."""
    return tensor.detach().clone()
