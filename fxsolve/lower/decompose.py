"""Operators without a batching rule, taken apart into others that have one."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fxsolve.ir.bodies import OpenRepeat
from fxsolve.ops.access import SameEntries
from fxsolve.ops.facts import FACTS, fact_of
from fxsolve.torch_compat.operators import OpOverload, decompositions, has_batching_rule

aten = torch.ops.aten

# torch takes it apart into others that count what stands behind the first label of -1.
_WRONG = frozenset({aten.multilabel_margin_loss_forward.default})


def _copied(x: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    return source.to(dtype=x.dtype, device=x.device).expand(x.shape)


def decompose(opened: OpenRepeat) -> None:
    """Let other operators compute what has no batching rule, in an open body."""
    for node in opened.graph.nodes:
        if isinstance(node.target, OpOverload) and not has_batching_rule(node.target):
            node.target = parts_of(node.target) or node.target


def parts_of(target: OpOverload) -> Callable[..., Any] | None:
    """A function that gives the results of an operator by others."""
    if target is aten.copy.default or target is aten.fill.Tensor:  # which torch takes apart into `copy`
        return _copied
    if fact_of(target, FACTS).access == SameEntries():
        return aten.clone.default
    return None if target in _WRONG else decompositions.get(target)
