"""Digests tell steps apart by what they compute and read, not by what anything is called."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import fxsolve
from fxsolve.ir.fingerprint import fingerprint, step_digest
from fxsolve.ir.spec import Repeat

STEPS = 6


def loop(step: Callable[[Tensor, Tensor, int], Tensor], dtype: torch.dtype = torch.float32, size: int = 3) -> Repeat:
    """The recurrence h_t = step(h_{t-1}, x_t, t)."""

    def run(x: Tensor) -> Tensor:
        h, made = x[0] * 0, []
        for t in range(STEPS):
            h = step(h, x[t], t)
            made.append(h)
        return torch.stack(made)

    with torch.no_grad():
        system = fxsolve.partition(fxsolve.capture(run, torch.ones(STEPS, size, dtype=dtype))).system
    (found,) = (one for one in system.equations if isinstance(one, Repeat) and "tanh" in one.body.code)
    return found


def plain(h: Tensor, x: Tensor, t: int) -> Tensor:
    return torch.tanh(h + x)


OTHERS = {
    "a factor": lambda h, x, t: torch.tanh(h + 2 * x),
    "alpha": lambda h, x, t: torch.tanh(torch.add(h, x, alpha=2)),
    "the order": lambda h, x, t: torch.tanh(x + h),
    "one of them twice": lambda h, x, t: torch.tanh(h + h + x),
    "the number of the step": lambda h, x, t: torch.tanh(h + x) * (t + 1),
    "another number of the step": lambda h, x, t: torch.tanh(h + x) * (t + 2),
    "an overload": lambda h, x, t: torch.tanh(h + x.sum()),
    "another type on the way": lambda h, x, t: torch.tanh((h + x).double()).float(),
}


def test_every_step_has_a_digest_of_its_own() -> None:
    digests = [step_digest(loop(step)) for step in (plain, *OTHERS.values())]
    digests += [step_digest(loop(plain, torch.float64)), step_digest(loop(plain, size=4))]
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize("step", [plain, OTHERS["the number of the step"]])
def test_a_step_has_one_digest_whatever_is_called_how(step: Callable[[Tensor, Tensor, int], Tensor]) -> None:
    def run(x: Tensor) -> Tensor:
        for _ in range(2):
            h, made = x[0] * 0, []
            for t in range(STEPS):
                h = step(h, x[t], t)
                made.append(h)
            x = torch.stack(made)
        return x

    with torch.no_grad():
        system = fxsolve.partition(fxsolve.capture(run, torch.ones(STEPS, 3))).system
    one, two = (repeat for repeat in system.equations if isinstance(repeat, Repeat) and "tanh" in repeat.body.code)
    assert one.name != two.name
    assert step_digest(one) == step_digest(two)
    assert len(dict(fingerprint(system))) == len(system.equations) + 1
