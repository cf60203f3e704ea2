"""Numbers of Python in the place of tensors without dimensions."""

from collections.abc import Sequence

import torch
from torch import Tensor


def quotient(one: float, other: float) -> float:
    """one / other in double precision, infinite or NaN where Python raises an error, as torch has it."""
    try:
        return one / other
    except ZeroDivisionError:
        return float(torch.tensor(one, dtype=torch.float64) / other)


def longer_in_front(numbers: Sequence[float], further: int) -> Sequence[float]:
    """The numbers with `further` more in front of the first, or without the first -further of them.

    Raises ValueError for more of numbers that are no range: these follow no rule.
    """
    if further <= 0:
        return numbers[-further:]
    if not isinstance(numbers, range):
        raise ValueError(f"{further} more steps than the {len(numbers)} whose numbers were recorded")
    return range(numbers.start - further * numbers.step, numbers.stop, numbers.step)


def tensor_of(number: float) -> Tensor:
    """The number in a tensor (), to the bit."""
    return torch.tensor(number, dtype=torch.int64 if isinstance(number, int) else torch.float64)


def number_in(tensor: Tensor) -> float:
    """The number in a tensor ()."""
    return tensor.item()
