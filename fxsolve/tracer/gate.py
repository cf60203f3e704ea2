"""Arguments that were computed from one another, or from parameters, with gradients.

The gradient of an argument is its own part alone, but autograd adds up all ways that lead to a tensor. A gate behind
such an argument lets the gradient through to where it came from, except while it is closed.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node, get_gradient_edge
from torch.utils import _pytree as pytree

from fxsolve.errors import CaptureError


@dataclass
class Gate:
    """Whether gradients pass."""

    is_closed: bool = False

    @contextmanager
    def closed(self) -> Iterator[None]:
        """In the body, no gradient passes."""
        self.is_closed = True
        try:
            yield
        finally:
            self.is_closed = False


class _Pass(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Gate, x: Tensor) -> Tensor:  # pyright: ignore
        ctx.gate = gate
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor | None]:  # pyright: ignore
        return None, None if ctx.gate.is_closed else gradient


@dataclass(frozen=True)
class Gated:
    """The arguments of a call, those that share a history behind a gate."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    gate: Gate = field(default_factory=Gate)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return tuple(leaf for leaf in pytree.tree_leaves((self.args, self.kwargs)) if isinstance(leaf, Tensor))


def gate_arguments(args: tuple[Any, ...], kwargs: dict[str, Any], parameters: Iterable[Tensor]) -> Gated:
    """The arguments, behind a gate where one was computed from another, or from one of the `parameters`.

    Raises `CaptureError` where such an argument lies in a list or dict, which must stay the object that it is.
    """
    gated = Gated(args, kwargs)
    if not torch.is_grad_enabled():
        return gated
    inputs = [tensor for tensor in gated.tensors if tensor.requires_grad]
    late = [tensor for tensor in inputs if not tensor.is_leaf]
    wanted = (*inputs, *(one for one in parameters if one.requires_grad))
    if not late or next(shared_histories(wanted), None) is None:
        return gated

    def behind(leaf: Any) -> Any:
        if not any(leaf is tensor for tensor in late):
            return leaf
        return _Pass.apply(gated.gate, leaf)

    if any(isinstance(value, (list, dict)) for value in (*args, *kwargs.values())):
        raise CaptureError("an argument in a list or dict was computed from another one, with gradients; detach it.")
    args, kwargs = pytree.tree_map(behind, (args, kwargs))
    return Gated(args, kwargs, gated.gate)


def shared_histories(tensors: Iterable[Tensor]) -> Iterator[Tensor]:
    """The tensors that others among them were computed from, with gradients and not behind a gate."""
    nodes: dict[Node, Tensor] = {get_gradient_edge(tensor).node: tensor for tensor in tensors}
    pending = [child for node in nodes if not is_gate(node) for child, _ in node.next_functions if child is not None]
    seen: set[Node] = set()
    while pending:
        node = pending.pop()
        if node in seen:
            continue
        seen.add(node)
        if node in nodes:
            yield nodes[node]
        pending += [child for child, _ in node.next_functions if child is not None]


def is_gate(node: Node) -> bool:
    """Whether gradients are stopped here while a gate is closed."""
    return isinstance(node, _Pass._backward_cls)  # pyright: ignore[reportAttributeAccessIssue]
