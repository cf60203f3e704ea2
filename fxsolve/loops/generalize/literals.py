"""Constants that a program makes of numbers anew in each run, on whose values its equations rest at every length."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from fxsolve.errors import PartitionError


def check_literals(one: Sequence[Tensor], two: Sequence[Tensor], three: Sequence[Tensor]) -> None:
    """Check that three runs make the same constants, if more or fewer times one after the other.

    Raises `PartitionError` where what they are in `three` is not what they are in `one` and `two` at the same place.
    """
    first, *others = [[_described(tensor) for tensor in run] for run in (one, two, three)]
    period = next((k for k in range(1, len(first)) if first[k:] == first[:-k]), max(1, len(first)))
    for run in others:
        if run != [first[k % period] for k in range(len(run) if first else 0)]:
            raise PartitionError("constants that the equations rest on are others at this length")


def _described(tensor: Tensor) -> tuple[Any, ...]:
    """What is equal of equal constants."""
    return tensor.dtype, tuple(tensor.shape), repr(tensor.tolist())
