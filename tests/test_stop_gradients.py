"""Gradients of loops that stop on a value are the program's to the bit, whatever the number of steps and their way."""

from typing import Any

import pytest
import torch
from torch import Tensor

import fxsolve
from tests.test_stops_on_a_value import MIX, N, Program, gradients, inputs, stopped


def phantom(u: Tensor) -> Tensor:
    """Through one more step alone."""
    with torch.no_grad():
        z = torch.zeros_like(u)
        while True:
            new = torch.tanh(MIX(z) + u)
            if (new - z).abs().max() < 1e-4:
                break
            z = new
    return torch.tanh(MIX(new) + u)


def last_step(u: Tensor) -> Tensor:
    """Through the last step, whatever its number."""
    z = torch.zeros_like(u)
    while True:
        new = torch.tanh(MIX(z.detach()) + u)
        if (new - z).abs().max() < 1e-4:
            return new
        z = new


class Surrogate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(x)
        return x.sign() * 0.1 + x * 0.5

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (x,) = ctx.saved_tensors
        return gradient * torch.exp(-x * x) * 0.6


def own_formula(u: Tensor) -> Tensor:
    z = torch.zeros_like(u)
    while True:
        new = Surrogate.apply(z * 0.7 + u)
        if (new - z).abs().max() < 1e-3:  # pyright: ignore[reportOptionalOperand, reportOperatorIssue]
            return new  # pyright: ignore[reportReturnType]
        z = new


def loss_of_every_step(u: Tensor) -> Tensor:
    x, loss = u, torch.zeros(())
    while True:
        new = x - 0.3 * (x - torch.tanh(MIX(x)))
        loss = loss + (new - x).square().sum()
        if (new - x).norm() < 1e-2:
            return x * loss
        x = new


def two_carries(u: Tensor) -> Tensor:
    a, b = u, torch.zeros_like(u)
    while True:
        new, other = 0.6 * torch.tanh(MIX(b)) + 0.2 * u, 0.5 * a + 0.3 * torch.sin(b)
        change = (new - a).norm() + (other - b).norm()
        a, b = new, other
        if change < 1e-3:
            return a * b


def power_of_the_step(u: Tensor) -> Tensor:
    """Forward and backward pass read other numbers of a step."""
    x = u.sigmoid()
    for t in range(1, 200):
        new = x.clamp(1e-3, 1) ** (1 + 1 / t) * 0.9
        if (new - x).abs().max() < 1e-2:
            break
        x = new
    return x.sum() * u


def one_behind_the_other(u: Tensor) -> Tensor:
    x = u * 50
    while x.norm() > 1:
        x = x * 0.9
    y = x
    while y.norm() > 0.1:
        y = torch.sin(y) * 0.8
    return x * y + u


PROGRAMS = [
    phantom,
    last_step,
    own_formula,
    loss_of_every_step,
    two_carries,
    power_of_the_step,
    one_behind_the_other,
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda one: one.__name__)
def test_gradients_are_the_programs_to_the_bit(program: Program) -> None:
    fast = fxsolve.compile(program, schedule="gs", backend="eager")
    ran = 0
    for u in [*inputs(24, 6, N)] * 2:
        assert all(map(torch.equal, gradients(fast, u), gradients(program, u)))
        ran += stopped(fast)
    assert ran >= 47, fast.report()  # the first one is recorded, and so may be another


def test_what_hides_how_many_steps_there_were_is_not_rolled() -> None:
    """Nothing of the formula's backward pass is numbered as a step, and all of it is right."""

    class Halved(torch.autograd.Function):
        @staticmethod
        def forward(_: Any, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
            return x * 0.5

        @staticmethod
        def backward(_: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
            return gradient * 0.3

    def program(u: Tensor) -> Tensor:
        z: Any = u * 1.0
        while True:
            new: Any = Halved.apply(z)
            if new.norm() < 1e-2:
                return z * 3 + u
            z = new

    fast = fxsolve.compile(program, schedule="gs", backend="eager")
    for u in inputs(12, 6, N):
        assert all(map(torch.equal, gradients(fast, u), gradients(program, u)))


def test_numbers_that_meet_in_the_last_step_are_told_apart() -> None:
    """Two rates are equal in step 10 alone, which is the last one of the first call and is differentiated by itself."""

    def program(u: Tensor, least: Tensor) -> Tensor:
        for t in range(60):
            g = torch.sin(u)
            h, z = g * ((160 - t) / 512), g * ((140 + t) / 512)
            u = 0.9 * u - 0.5 * h + 0.1 * z
            if u.norm() < least:
                break
        return z  # pyright: ignore[reportPossiblyUnboundVariable]

    def gradient(of: Any, least: float) -> Tensor:
        u = torch.tensor([2.0, 1.0, -0.5], dtype=torch.float64, requires_grad=True)
        of(u, torch.tensor(least)).square().sum().backward()
        assert u.grad is not None
        return u.grad

    fast = fxsolve.compile(program, schedule="gs", backend="eager")
    ran = []
    for least in (0.2, 0.1, 0.12, 0.15, 0.3, 0.4, 0.2):
        assert torch.equal(gradient(fast, least), gradient(program, least))
        ran.append("while0" in str(fast.schedule))
    assert not ran[0], "either of the two may be the one that was read"
    assert all(ran[1:4]), ran
