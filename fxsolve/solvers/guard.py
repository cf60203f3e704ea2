"""Scalars that were read while recording, compared with what this run reads."""

import math
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from fxsolve.errors import GuardError

Number = bool | int | float | complex


def check_guards(
    values: tuple[Tensor, ...], expected: tuple[Number | Tensor, ...], numbers: Sequence[int] = ()
) -> None:
    """Compare tensors with what they must hold exactly; NaN equals NaN, and -0.0 differs from 0.0.

    A tensor of one entry is compared with a number, one that holds what several steps read with a vector of the same
    dtype. `numbers` are the numbers of the guards, of a vector that of its first step; 0, 1, ... if not given. The
    device is read once. Raises `GuardError` naming the first value that differs.
    """
    if not values:
        return
    for number, found, wanted in zip(numbers or range(len(values)), _read(values), expected, strict=True):
        difference = _difference(found, wanted)
        if difference is not None:
            entry, value, recorded = difference
            step = f", step {entry}," if isinstance(wanted, Tensor) else ""
            message = f"guard {number}{step} read {value!r}, but {recorded!r} was read while recording; record again"
            raise GuardError(message, number)


def _difference(found: Tensor, wanted: Number | Tensor) -> tuple[int, Number, Number] | None:
    """The first entry of a host vector that is not as wanted: (entry, what it is, what it should be)."""
    if isinstance(wanted, Tensor):
        wanted = wanted.reshape(-1).to("cpu", found.dtype)
        if torch.equal(found.view(torch.int64), wanted.view(torch.int64)):
            return None
        recorded = wanted.tolist()
    else:
        recorded = [wanted]
    pairs = enumerate(zip(found.tolist(), recorded, strict=True))
    return next(((entry, a, b) for entry, (a, b) in pairs if not _same(a, b)), None)


def _read(values: tuple[Tensor, ...]) -> list[Tensor]:
    """Every value as a vector of a 64-bit type on the host; all are carried there as the bits of one vector."""
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = defaultdict(list)
    for number, value in enumerate(values):
        groups[value.device, value.dtype].append(number)
    words = [_to_words(torch.cat([values[number].reshape(-1) for number in numbers])) for numbers in groups.values()]
    host = torch.cat([word.to(words[0].device) for word in words]).cpu()
    found: dict[int, Tensor] = {}
    parts = host.split([len(word) for word in words])
    for (_, dtype), numbers, part in zip(groups, groups.values(), parts, strict=True):
        # A complex view needs an even offset, hence the clone.
        carried = part.clone().view(_carrier(dtype)).split([values[number].numel() for number in numbers])
        found.update(zip(numbers, carried, strict=True))
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
