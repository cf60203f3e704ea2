"""Numbers of Python in the place of tensors without dimensions."""

import torch


def quotient(one: float, other: float) -> float:
    """one / other in double precision, infinite or NaN where Python raises an error, as torch has it."""
    try:
        return one / other
    except ZeroDivisionError:
        return float(torch.tensor(one, dtype=torch.float64) / other)
