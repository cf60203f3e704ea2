"""A call with its backward pass, and what of its result is compared."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fxsolve.report.data import Check
from fxsolve.report.difference import compare, within
from fxsolve.runtime.agreement import check_gradients, tolerance_of
from fxsolve.torch_compat.trees import pytree


@dataclass(frozen=True)
class StepWithGradients:
    """Calls a program, then the backward pass of the sum of its results; gives both."""

    program: Callable[..., Any]
    parameters: tuple[Tensor, ...]

    def __call__(self, *args: Any, **kwargs: Any) -> tuple[Any, tuple[Tensor | None, ...]]:
        result = self.program(*args, **kwargs)
        leaves = [one for one in pytree.tree_leaves(result) if isinstance(one, Tensor) and one.requires_grad]
        given = [one for one in pytree.tree_leaves((args, kwargs)) if isinstance(one, Tensor) and one.requires_grad]
        wanted = (*self.parameters, *given)
        if not leaves or not wanted:
            return result, ()
        ones = [torch.ones_like(leaf) for leaf in leaves]
        return result, torch.autograd.grad(leaves, wanted, ones, allow_unused=True)


@dataclass(frozen=True)
class Agreement:
    """One call against that of the original: the results, and the gradients where there are any."""

    results: Check
    gradients: Check | None = None

    @property
    def fault(self) -> str:
        """What is wrong with the call, "" where nothing is."""
        if not within(self.results):
            return f"its results are wrong: {_off(self.results)}"
        if self.gradients is not None and not within(self.gradients):
            return f"its gradients are wrong: {_off(self.gradients)}, of the largest entry"
        return ""


def _off(check: Check) -> str:
    return f"off by {check.max_difference:.1e}, {check.tolerance:.1e} is allowed"


def worst(found: Sequence[Agreement]) -> Agreement:
    """The largest differences of several calls."""
    gradients = [one.gradients for one in found if one.gradients is not None]
    return Agreement(_worst([one.results for one in found]), _worst(gradients) if gradients else None)


def _worst(checks: Sequence[Check]) -> Check:
    largest = max(checks, key=lambda check: check.max_difference - check.tolerance)
    return replace(largest, bitwise=all(check.bitwise for check in checks))


def agreement(result: Any, expected: Any, stop: float, with_gradients: bool) -> Agreement:
    """How far two calls are apart; tolerated are rounding, and what stop tests of `stop` leave behind.

    Both are (value, tensors that the program wrote); of a `StepWithGradients`, the value is a pair with the gradients.
    """
    if not with_gradients:
        return Agreement(compare(result, expected, _tolerance(expected, stop)))
    (result, ours), written = result
    (expected, theirs), as_written = expected
    results = compare((result, written), (expected, as_written), _tolerance((expected, as_written), stop))
    pairs = [pair for pair in zip(ours, theirs, strict=True) if pair[0] is not None and pair[1] is not None]
    if any((one is None) != (other is None) for one, other in zip(ours, theirs, strict=True)):
        return Agreement(results, Check(float("inf"), bitwise=False, tolerance=0.0))
    return Agreement(results, check_gradients(*zip(*pairs, strict=True), stop) if pairs else None)  # pyright: ignore


def _tolerance(expected: Any, stop: float) -> float:
    return tolerance_of(tuple(one for one in pytree.tree_leaves(expected) if isinstance(one, Tensor)), stop)
