"""The change between two iterates, read from the device once."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fxsolve.solvers.bitwise import differs
from fxsolve.solvers.stop import Stop


@dataclass(frozen=True)
class Change:
    """What one sweep changed.

    `size` is max |s_new - s_old|, or 1.0 where an integer or boolean state changed; `exact` says that nothing
    changed bit for bit; `finite` is false where the change is NaN or infinite, so also where only s_old was.
    """

    size: float
    converged: bool
    exact: bool
    finite: bool


class _Test(NamedTuple):
    """One state passes if `excess` <= `bound`; `bitwise` says that it then did not change at all."""

    size: Tensor
    excess: Tensor
    bound: float
    bitwise: bool


def measure(pairs: Iterable[tuple[Tensor, Tensor]], stop: Stop) -> Change:
    """Apply the test of `stop` to pairs (new, old) with a single host synchronisation."""
    tests = [_test(new, old, stop) for new, old in pairs if new.numel() > 0]
    if not tests:
        return Change(0.0, converged=True, exact=True, finite=True)
    device = tests[0].size.device
    flags = torch.stack([flag.to(device) for test in tests for flag in (test.size, test.excess)]).tolist()
    sizes, excesses = flags[::2], flags[1::2]
    if not all(map(math.isfinite, sizes)):
        return Change(math.nan, converged=False, exact=False, finite=False)
    converged = all(excess <= test.bound for excess, test in zip(excesses, tests, strict=True))
    exact = converged and all(test.bitwise for test in tests)
    return Change(float(max(sizes)), converged, exact, finite=True)


def _test(new: Tensor, old: Tensor, stop: Stop) -> _Test:
    if not (new.is_floating_point() or new.is_complex()):
        changed = differs(new, old)
        return _Test(changed, changed, 0.0, bitwise=True)
    distance = (new - old).abs() if new.is_complex() else (new - old).abs_()
    size = distance.amax()
    if stop.atol == 0 and stop.rtol == 0:
        return _Test(size, differs(new, old), 0.0, bitwise=True)
    if stop.rtol == 0:
        return _Test(size, size, stop.atol, bitwise=False)
    return _Test(size, distance.sub_(new.abs(), alpha=stop.rtol).amax(), stop.atol, bitwise=False)
