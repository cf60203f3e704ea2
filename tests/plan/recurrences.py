"""Loops of one form, h <- step(h, x_t, ...), and the cells that the tests of solvers and schedules run in them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import fxsolve
from fxsolve.ir.spec import Lag, Prefix, Repeat

T, B, N = 6, 4, 3

Step = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def loop_over(step: Step) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The program that returns all states of h <- step(h, x_t, w, u) from h = x_0."""

    def program(x: Tensor, w: Tensor, u: Tensor) -> Tensor:
        h, states = x[0] * 1, []
        for x_t in x.unbind(0):
            h = step(h, x_t, w, u)
            states.append(h)
        return torch.stack(states)

    return program


def weights(dtype: torch.dtype, size: int = N) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(size)
    return tuple(torch.randn(size, size, dtype=dtype, generator=generator) / size for _ in range(2))  # pyright: ignore


def tanh_rnn(h: Tensor, x: Tensor, w: Tensor, u: Tensor) -> Tensor:
    return torch.tanh(x + h @ w)


def gru(h: Tensor, x: Tensor, w: Tensor, u: Tensor) -> Tensor:
    z, r = torch.sigmoid(h @ w + x), torch.sigmoid(h @ u - x)
    return (1 - z) * torch.tanh(x + r * (h @ (w - u))) + z * h


def diagonal(h: Tensor, x: Tensor, w: Tensor, u: Tensor) -> Tensor:
    return torch.sigmoid(w[0]) * h + x


def affine(h: Tensor, x: Tensor, w: Tensor, u: Tensor) -> Tensor:
    return h @ w + x * u[0]


def lstm(x: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """All outputs, and the last states."""
    h, c, states = torch.zeros_like(x[0]), torch.zeros_like(x[0]), []
    for x_t in x.unbind(0):
        i, f, g, o = (h @ w + x_t.repeat(1, 4)).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        states.append(h)
    return torch.stack(states, 1), h, c


def recurrence(program: Callable[..., Any], *inputs: Any) -> Repeat:
    """The one loop of a program whose steps read one another."""
    with torch.no_grad():
        system = fxsolve.partition(fxsolve.capture(program, *inputs)).system
    (found,) = (r for r in system.repeats if any(isinstance(read, (Lag, Prefix)) for read in r.reads))
    return found
