"""Scalars that were read while recording, compared with what this run reads."""

import math
from collections import defaultdict

import torch
from torch import Tensor

from fxsolve.errors import GuardError

Number = bool | int | float | complex


def check_guards(values: tuple[Tensor, ...], expected: tuple[Number, ...]) -> None:
    """Compare one-element tensors with numbers exactly; NaN equals NaN, and -0.0 differs from 0.0.

    The device is read once. Raises `GuardError` naming the first value that differs.
    """
    if not values:
        return
    for number, (value, wanted) in enumerate(zip(_read(values), expected, strict=True)):
        if not _same(value, wanted):
            raise GuardError(f"guard {number} read {value!r}, but {wanted!r} was read while recording; record again")


def _read(values: tuple[Tensor, ...]) -> list[Number]:
    """Every value as a Python number: all are carried to the host as the bits of one 64-bit integer vector."""
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = defaultdict(list)
    for number, value in enumerate(values):
        groups[value.device, value.dtype].append(number)
    words = [_to_words(torch.cat([values[number].reshape(1) for number in numbers])) for numbers in groups.values()]
    host = torch.cat([word.to(words[0].device) for word in words]).cpu()
    found: dict[int, Number] = {}
    parts = host.split([len(word) for word in words])
    for (_, dtype), numbers, part in zip(groups, groups.values(), parts, strict=True):
        # A complex view needs an even offset, hence the clone.
        found.update(zip(numbers, part.clone().view(_carrier(dtype)).tolist(), strict=True))
    return [found[number] for number in range(len(values))]


def _to_words(values: Tensor) -> Tensor:
    return values.to(_carrier(values.dtype)).view(torch.int64)


def _carrier(dtype: torch.dtype) -> torch.dtype:
    """The 64-bit type that holds every value of `dtype` exactly."""
    if dtype.is_complex:
        return torch.complex128
    return torch.float64 if dtype.is_floating_point else torch.int64


def _same(found: Number, wanted: Number) -> bool:
    if isinstance(found, int) or isinstance(wanted, int):
        return found == wanted
    return all(map(_same_float, _parts(found), _parts(wanted)))


def _parts(number: float | complex) -> tuple[float, float]:
    return complex(number).real, complex(number).imag


def _same_float(found: float, wanted: float) -> bool:
    if math.isnan(found) or math.isnan(wanted):
        return math.isnan(found) and math.isnan(wanted)
    return found == wanted and math.copysign(1.0, found) == math.copysign(1.0, wanted)
