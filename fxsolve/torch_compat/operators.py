"""Operators: the overloads that a recorder sees, and what torch knows of each."""

from collections.abc import Callable, Mapping
from functools import wraps
from types import ModuleType
from typing import Any, TypeVar

import torch

from fxsolve.torch_compat.checks import getter, lookup, relied_on

with relied_on():
    from torch._C import _dispatch_has_kernel_for_dispatch_key as has_kernel
    from torch._C import _nn as _functions  # pyright: ignore[reportAttributeAccessIssue]
    from torch._decomp import decomposition_table
    from torch._decomp.decompositions import one_layer_lstm
    from torch._functorch.predispatch import lazy_load_decompositions as load_rules
    from torch._ops import HigherOrderOperator, OpOverload

__all__ = ["HigherOrderOperator", "OpOverload", "can_decompose", "decompositions", "functions_of_layers", "has_kernel"]

_Known = TypeVar("_Known")

_EXAMPLE = torch.ops.aten.add.Tensor

schema_of: Callable[[OpOverload], torch.FunctionSchema] = getter(_EXAMPLE, "_schema")
# Of `aten.add.Tensor` these are "add" and "Tensor".
operator_name_of: Callable[[OpOverload], str] = getter(_EXAMPLE, "_opname")
overload_name_of: Callable[[OpOverload], str] = getter(_EXAMPLE, "_overloadname")
can_decompose: Callable[[OpOverload], bool] = lookup(OpOverload, "_can_decompose")
# The C bindings behind `torch.nn.functional`.
functions_of_layers: ModuleType = _functions
# How torch itself writes an operator by others.
decompositions: Mapping[OpOverload, Callable[..., Any]] = decomposition_table
# (x, (h, c), weights and biases, has_biases, reverse) -> y, (h, c)
lstm_layer: Callable[..., Any] = one_layer_lstm


def once_each(function: Callable[[OpOverload], _Known]) -> Callable[[OpOverload], _Known]:
    """What a function tells of an operator is found once; a `cache` would hash the operator every time, in Python."""
    known: dict[int, tuple[OpOverload, _Known]] = {}  # holds the operators, so that no other one gets their ids

    @wraps(function)
    def tell(operator: OpOverload) -> _Known:
        found = known.get(id(operator))
        if found is None:
            found = known[id(operator)] = operator, function(operator)
        return found[1]

    return tell


def flop_rule(function: OpOverload) -> Callable[..., Any] | None:
    """How torch counts what a product, convolution or attention multiplies and adds; None of other operators."""
    from torch.utils.flop_counter import flop_registry  # late: it imports triton

    return flop_registry.get(function.overloadpacket)


@once_each
def has_batching_rule(function: OpOverload) -> bool:
    """Whether vmap runs the operator for a whole batch; others it would run entry by entry."""
    load_rules()  # some are there only once vmap was called
    keys = ("FuncTorchBatched", "FuncTorchBatchedDecomposition")
    return any(has_kernel(function.name(), key) for key in keys)
