"""Seconds of a call, and of its backward pass where it has one."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from fxsolve.economy.clock import seconds_now
from fxsolve.torch_compat.gradients import at_end_of_backward
from fxsolve.torch_compat.trees import pytree

_Tell = Callable[[float], object]


def tell_when_over(seconds: float, result: Any, inputs: Sequence[Tensor], tell: _Tell) -> None:
    """Tell the seconds of a call that took so long: now, or behind the first backward pass through its `result`.

    That pass is counted from where gradients arrive at the result to its very end: what it does behind the `inputs`
    takes as long whatever gave the result. Where there is no such pass, nothing is told.
    """
    given = {one.grad_fn for one in inputs}
    tensors = (one for one in pytree.tree_leaves(result) if isinstance(one, Tensor))
    nodes = {one.grad_fn for one in tensors if one.grad_fn is not None} - given
    if not nodes:
        tell(seconds)
        return
    watch = _Watch(seconds, tell)
    for node in nodes:
        node.register_prehook(watch.arrive)


class _Watch:
    """Waits for gradients, whichever node they reach first."""

    def __init__(self, seconds: float, tell: _Tell) -> None:
        self._seconds = seconds
        self._tell: _Tell | None = tell

    def arrive(self, _: tuple[Tensor | None, ...]) -> None:
        if self._tell is None:
            return
        tell, self._tell, began = self._tell, None, seconds_now()
        at_end_of_backward(lambda: tell(self._seconds + seconds_now() - began))
