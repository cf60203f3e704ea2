"""What a call of a raw record does, as functionalization has to know it."""

import operator
from typing import Any

import torch
from torch import fx

from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.torch_compat.operators import OpOverload, schema_of

aten = torch.ops.aten


def is_idle(node: fx.Node) -> bool:
    """Whether a view is the tensor itself: a `detach`, or an `expand` that changes no size.

    The inverse of `expand` rounds, x + (y - x), so none is left to invert.
    """
    if node.target is aten.detach.default:
        return True
    return node.target is aten.expand.default and node.all_input_nodes[0].meta["spec"].shape == node.meta["spec"].shape


def is_detached(node: fx.Node) -> bool:
    """Whether a view goes through a call that is idle."""
    while node.op == "call_function" and (node.target is operator.getitem or is_view(node.target)):
        if is_idle(node):
            return True
        node = node.all_input_nodes[0]
    return False


def is_view(target: Any) -> bool:
    return isinstance(target, OpOverload) and target.is_view


def gives_parts(node: fx.Node) -> bool:
    return is_view(node.target) and not isinstance(node.meta.get("spec"), TensorSpec)


def stays_whole(node: fx.Node) -> bool:
    """Whether a call makes new tensors of others, and nothing else."""
    target = node.target
    if not (isinstance(target, OpOverload) and node.all_input_nodes and "spec" in node.meta):
        return False
    return not (target.is_view or schema_of(target).is_mutable)


def changes_shape(target: Any) -> bool:
    return isinstance(target, OpOverload) and torch.Tag.inplace_view in target.tags
