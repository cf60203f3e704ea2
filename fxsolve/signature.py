"""When a recorded program may be used again: everything about a call that recording took for granted."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from fxsolve.tracer.reach import Reach


@dataclass(frozen=True)
class Call:
    """One call, taken apart: its tensors in pytree order and the key under which its entry is kept."""

    tensors: tuple[Tensor, ...]
    key: Hashable


def read_call(args: tuple[Any, ...], kwargs: dict[str, Any], reach: Reach) -> Call:
    """Flatten a call.

    The key holds the structure of the arguments, the values of those that are no tensors, of each tensor the shape,
    stride, dtype, device and whether it wants a gradient, which tensors are one and the same object, the grad mode,
    and of each module the train flag. Arguments that are not hashable stand for themselves by identity.
    """
    leaves, spec = pytree.tree_flatten((args, kwargs))
    tensors = tuple(leaf for leaf in leaves if isinstance(leaf, Tensor))
    plain = tuple(_plain(leaf) for leaf in leaves if not isinstance(leaf, Tensor))
    grad = torch.is_grad_enabled()
    modes = (grad, torch.is_inference_mode_enabled(), torch.get_default_dtype(), torch.is_autocast_enabled())
    first = {id(tensor): k for k, tensor in reversed(list(enumerate(tensors)))}
    same = tuple(first[id(tensor)] for tensor in tensors)
    key = (spec, plain, tuple(map(_describe, tensors)), same, modes, _state(reach, grad))
    return Call(tensors, key)


def describe_call(call: Call) -> str:
    """The shapes and dtypes of the tensors of a call."""
    return ", ".join(f"{str(t.dtype).removeprefix('torch.')}{list(t.shape)}" for t in call.tensors) or "no tensors"


def _describe(tensor: Tensor) -> Hashable:
    return (type(tensor), tensor.shape, tensor.stride(), tensor.dtype, tensor.device, tensor.requires_grad)


def _plain(leaf: Any) -> Hashable:
    """A number is told from an equal number of another type."""
    try:
        hash(leaf)
    except TypeError:
        return (type(leaf), id(leaf))
    return (type(leaf), leaf)


def _state(reach: Reach, grad: bool) -> Hashable:
    """What the modules bring along: train flags and the types of their tensors."""
    return tuple(_module_state(module, grad) for root in reach.modules.values() for module in root.modules())


def _module_state(module: nn.Module, grad: bool) -> Hashable:
    parameters = tuple((p.dtype, p.device, p.shape, grad and p.requires_grad) for p in module.parameters(recurse=False))
    buffers = tuple((b.dtype, b.device, b.shape) for b in module.buffers(recurse=False))
    return (id(module), module.training, parameters, buffers)
