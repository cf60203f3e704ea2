"""The numbers of a table as tensors, on the device of the steps, or as a range."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fxsolve.ir.spec import Repeat, Table


def device_of(repeat: Repeat) -> torch.device:
    """The device on which the steps run."""
    specs = [node.meta.get("spec") for node in repeat.body.graph.nodes]
    return next((spec.device for spec in specs if hasattr(spec, "device")), torch.device("cpu"))


def table_tensor(read: Table, device: torch.device) -> Tensor:
    """The numbers of a table as a tensor (T,)."""
    whole = all(isinstance(value, int) for value in read.values)
    return torch.tensor(read.values, dtype=torch.int64 if whole else torch.float64, device=device)


def as_range(numbers: Sequence[int | float]) -> range | None:
    """The range of these numbers, at least one; None if they are not evenly spaced integers, or all the same."""
    if not all(issubclass(kind, int) for kind in {*map(type, numbers)}):
        return None
    start, distance = int(numbers[0]), int(numbers[1] - numbers[0]) if len(numbers) > 1 else 1
    counted = range(start, start + distance * len(numbers), distance) if distance else range(0)
    return counted if list(counted) == list(numbers) else None


def as_numbers(read: Table) -> Sequence[int | float]:
    """The numbers of a table, as a range, which goes on, where they are one."""
    return (as_range(read.values) if len(read.values) > 1 else None) or read.values
