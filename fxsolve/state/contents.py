"""Whether the values of a program's own tensors have changed, also by writes that no version counter sees."""

from collections.abc import Hashable

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from fxsolve.solvers.bitwise import to_bits
from fxsolve.state.memory import version_of
from fxsolve.state.reach import Reach, name_tensors
from fxsolve.state.snapshot import take_snapshot
from fxsolve.torch_compat.dispatch import WithoutTorchFunction


def contents_of(reach: Reach) -> tuple[Hashable, ...]:
    """A mark of each tensor that the program keeps: the sum of its bits as integers."""
    kept = [tensor for tensor, _, _ in name_tensors(reach).values()]
    kept += take_snapshot(reach).tensors()
    with torch.no_grad(), WithoutTorchFunction():
        return tuple(_mark(tensor) for tensor in {id(tensor): tensor for tensor in kept}.values())


def _mark(tensor: Tensor) -> Hashable:
    if is_lazy(tensor):
        return type(tensor)
    if tensor.layout != torch.strided or type(tensor) not in (Tensor, torch.nn.Parameter):
        return version_of(tensor)
    return to_bits(tensor.detach()).sum(dtype=torch.int64).item()
