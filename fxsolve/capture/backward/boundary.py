"""Backward passes that end at the tensors that a program was given.

The gradient of such a tensor is its own part alone, but autograd adds up all ways that lead to a tensor: also those
through others that were computed from it before the program ran. Its hooks are for the whole gradient, and are run by
the backward pass that this is a part of.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

from fxsolve.torch_compat.gradients import current_node, current_pass, next_number, number_of
from fxsolve.torch_compat.tensors import hooks_of


class Earlier:
    """The nodes of autograd's graph that are there now; what they saved is not for a record of what comes next."""

    def __init__(self) -> None:
        self._next, self._around = next_number(), current_pass()

    def running(self) -> Node | None:
        """The one that a backward pass runs now, if it is one of them.

        A pass that runs already, as that of a checkpoint or an adjoint method, runs the record itself.
        """
        node = current_node()
        if node is None or current_pass() == self._around:
            return None
        return node if number_of(node) < self._next else None


class _Start(torch.autograd.Function):
    """A result as it is; behind it, a backward pass tells its number."""

    @staticmethod
    def forward(ctx: Any, passes: set[int], result: Tensor) -> Tensor:  # pyright: ignore
        ctx.passes = passes
        return result.view_as(result)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[None, Tensor]:  # pyright: ignore
        ctx.passes.add(current_pass())
        return None, cotangent


class BoundedResults:
    """Some `results` of a program, whose backward passes from here do not go beyond the tensors that were `given`.

    Nor do they run the hooks of these.

    Others, in other threads at the same time, do. Makes nodes of autograd, so none may be recorded meanwhile.
    """

    def __init__(self, results: Sequence[Tensor], given: Sequence[Tensor]) -> None:
        self._passes: set[int] = set()
        self._ends = defaultdict[Node, set[int]](set)
        for tensor in given:
            if tensor.grad_fn is not None:
                self._ends[tensor.grad_fn].add(tensor.output_nr)
        self._hooks = [hooks for tensor in given if (hooks := hooks_of(tensor))]
        is_bounded = self._ends or self._hooks
        with torch.enable_grad():
            self._starts = [_Start.apply(self._passes, one) for one in results] if is_bounded else results

    def differentiate(
        self, wanted: Sequence[Tensor], cotangents: Sequence[Tensor], create_graph: bool = False
    ) -> tuple[Tensor | None, ...]:
        """The gradients of all `wanted` tensors, None where there is none; the graph is kept."""
        handles = [node.register_prehook(partial(self._end, ends)) for node, ends in self._ends.items()]
        try:
            with self._without_hooks():  # parts of the graph may belong to what was given
                return torch.autograd.grad(self._starts, wanted, cotangents, True, create_graph, allow_unused=True)  # pyright: ignore
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def _without_hooks(self) -> Iterator[None]:
        """Let no pass of these results run the hooks of what was given; those of other threads run them."""
        before = [(hooks, dict(hooks)) for hooks in self._hooks]
        for hooks, known in before:
            hooks.update({key: self._elsewhere(hook) for key, hook in known.items()})
        try:
            yield
        finally:
            for hooks, known in before:
                hooks.update({key: hook for key, hook in known.items() if key in hooks})

    def _elsewhere(self, hook: Callable[[Tensor], Tensor | None]) -> Callable[[Tensor], Tensor | None]:
        return lambda gradient: None if current_pass() in self._passes else hook(gradient)

    def _end(self, ends: set[int], gradients: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        """What a node is handed that given tensors came from: nothing for these, in a pass of these results."""
        if current_pass() not in self._passes:
            return gradients
        return tuple(None if k in ends else one for k, one in enumerate(gradients))
