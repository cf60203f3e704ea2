"""What recording has to do about an ATen operator."""

from enum import Enum, auto

import torch

from fxsolve.capture.communication import is_communication
from fxsolve.capture.record import noise, reads, statistics
from fxsolve.torch_compat.operators import OpOverload, can_decompose, has_kernel, once_each, schema_of

aten = torch.ops.aten


class Kind(Enum):
    """What recording has to do about an ATen operator."""

    CALL = auto()
    MUTATION = auto()
    RANDOM = auto()
    READ = auto()
    LIFT = auto()
    STATISTICS = auto()
    GRAD_MODE = auto()
    COMPOSITE = auto()
    STORAGE = auto()
    REMARK = auto()
    COMMUNICATION = auto()


@once_each
def kind_of(function: OpOverload) -> Kind:
    """The kind of an operator, from its schema and tags."""
    if function.namespace == "profiler":
        return Kind.REMARK
    if is_communication(function):
        return Kind.COMMUNICATION
    if can_decompose(function) and not _has_own_kernel(function):
        return Kind.COMPOSITE
    if function is aten.lift_fresh.default:
        return Kind.LIFT
    if noise.is_random(function):
        return Kind.RANDOM
    if any("Storage" in str(argument.type) for argument in schema_of(function).arguments):
        return Kind.STORAGE
    if schema_of(function).is_mutable:
        return Kind.MUTATION
    if statistics.keeps_statistics(function):
        return Kind.STATISTICS
    if function is aten.mkldnn_rnn_layer.default:
        return Kind.GRAD_MODE
    return Kind.READ if reads.is_read(function) else Kind.CALL


def _has_own_kernel(function: OpOverload) -> bool:
    """Whether PyTorch itself does not take a call apart: its parts would round in another way.

    Python's rules keep the kernels that they stand for. What cannot be batched as it is, `mish_backward` for one, is
    taken apart all the same.
    """
    keys = ("CompositeImplicitAutograd", "CPU", "FuncTorchBatched")
    return all(has_kernel(function.name(), key) for key in keys)
