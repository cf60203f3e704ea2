"""Small programs of the runtime's tests, recorded, and their emitted passes as autograd calls them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fxsolve.capture.program import Program
from fxsolve.runtime.family import Member, member
from fxsolve.runtime.gradients import Differentiable, make_differentiable
from fxsolve.stages import capture, emit_passes, partition, schedule

N = 3


def numbers(*shape: int) -> Tensor:
    """The same numbers for the same shape."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def wanted(*shape: int) -> Tensor:
    """Numbers that want a gradient."""
    return numbers(*shape).requires_grad_()


def recurrence(x: Tensor) -> Tensor:
    """h_t = tanh(h_{t-1} / 2 + x_t), all of them."""
    h, states = torch.zeros_like(x[0]), []
    for x_t in x:
        h = torch.tanh(h * 0.5 + x_t)
        states.append(h)
    return torch.stack(states)


def recorded(program: Callable[..., Any], *inputs: Any) -> Program:
    return capture(program, *inputs)


@torch.enable_grad()
def differentiable(program: Callable[..., Any], *inputs: Any) -> tuple[Differentiable, Program]:
    """The emitted passes of a program, run in order, and the recording."""
    captured = recorded(program, *inputs)
    parts = partition(captured)
    return make_differentiable(
        captured, emit_passes(captured, parts, schedule(captured, parts, "gs", "eager"))
    ), captured


@torch.no_grad()
def member_of(program: Callable[..., Any], *inputs: Any) -> Member:
    """A recording as it is kept to derive other lengths from."""
    captured = recorded(program, *inputs)
    return member(captured, partition(captured), inputs)
