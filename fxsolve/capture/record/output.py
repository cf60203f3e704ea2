"""The return value of a program: taken apart into tensors and constants, and put together again."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fxsolve.capture.numbers.values import Returned
from fxsolve.capture.plain import refuse_unusual
from fxsolve.capture.program import Output
from fxsolve.errors import CaptureError
from fxsolve.torch_compat.trees import pytree

_CONSTANTS = (int, float, complex, str, type(None), torch.dtype, torch.device)


def flatten_result(result: Any) -> tuple[Output, tuple[Tensor, ...]]:
    """The tensors of a return value in pytree order, and how to rebuild the value from them.

    Raises:
        CaptureError: a leaf is neither a tensor nor a plain constant.
    """
    flat, spec = pytree.tree_flatten(result)
    leaves: list[int | None] = []
    constants: list[Any] = []
    tensors: list[Tensor] = []
    numbers: set[int] = set()
    for leaf in flat:
        if isinstance(leaf, Returned):
            numbers.add(len(tensors))
            leaf = leaf.tensor
        if isinstance(leaf, Tensor):
            refuse_unusual(leaf, f"output {len(tensors)}")
            leaves.append(len(tensors))
            tensors.append(leaf)
            continue
        if not isinstance(leaf, _CONSTANTS):
            raise CaptureError(
                f"the program returns a {type(leaf).__name__}; fxsolve handles tensors, numbers, strings and None "
                "in tuples, lists and dicts."
            )
        leaves.append(None)
        constants.append(leaf)
    return Output(spec, tuple(leaves), tuple(constants), frozenset(numbers)), tuple(tensors)


def rebuild(output: Output, tensors: Sequence[Tensor]) -> Any:
    """The return value of the program with `tensors` in the places of its tensors."""
    constants = iter(output.constants)
    leaves = [next(constants) if leaf is None else tensors[leaf] for leaf in output.leaves]
    if output.numbers:
        pairs = zip(output.leaves, leaves, strict=True)
        leaves = [value.item() if number in output.numbers else value for number, value in pairs]
    return pytree.tree_unflatten(leaves, output.spec)
