"""Ranges of states: what is proved, checked on extreme inputs."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fxsolve.ir.spec import Lag
from fxsolve.ops.facts import EVERYTHING
from fxsolve.plan.facts import Ends, carried_ranges
from tests.plan.recurrences import B, N, T, loop_over, lstm, recurrence, weights

INF = math.inf
KNOWN: list[tuple[Callable[[Tensor, Tensor, Tensor, Tensor], Tensor], Ends]] = [
    (lambda h, x, w, u: torch.tanh(h @ w + x), (-1, 1)),
    (lambda h, x, w, u: torch.sigmoid(h + x), (0, 1)),
    (lambda h, x, w, u: torch.relu(h + x), (0, INF)),
    (lambda h, x, w, u: (h + x).clamp(-0.5, 2), (-0.5, 2)),
    (lambda h, x, w, u: (h + x).clamp(min=0.25), (0.25, INF)),
    (lambda h, x, w, u: (h + x).clamp(max=3), (-INF, 3)),
    (lambda h, x, w, u: F.hardtanh(h + x), (-1, 1)),
    (lambda h, x, w, u: F.softmax(h + x, -1), (0, 1)),
    (lambda h, x, w, u: -torch.sigmoid(h + x), (-1, 0)),
    (lambda h, x, w, u: torch.tanh(h) * torch.sigmoid(h - x), (-1, 1)),
    (lambda h, x, w, u: torch.relu(h + x) * torch.sigmoid(-h), (0, INF)),
    (lambda h, x, w, u: torch.tanh(h + x).t().contiguous().t(), (-1, 1)),
    (lambda h, x, w, u: torch.where(x > 0, torch.tanh(h), torch.relu(h + x)), (-1, INF)),
    (lambda h, x, w, u: torch.cat([torch.tanh(h[:, :1]), torch.sigmoid(h[:, 1:] + x[:, 1:])], -1), (-1, 1)),
    (lambda h, x, w, u: torch.tanh(h + x) + x, EVERYTHING),
    (lambda h, x, w, u: torch.tanh(h + x) * 0.3, EVERYTHING),
    (lambda h, x, w, u: (h + x).clamp(-0.1, 0.1) * torch.tanh(h), EVERYTHING),
]


@pytest.mark.parametrize(("step", "limits"), KNOWN)
def test_the_op_that_makes_the_state_bounds_it(step: Callable[..., Tensor], limits: Ends) -> None:
    program = loop_over(step)
    inputs = torch.randn(T, B, N), *weights(torch.float32)
    repeat = recurrence(program, *inputs)
    (found,) = carried_ranges(repeat, tuple(read.output for read in repeat.reads if isinstance(read, Lag)))
    assert found == limits
    for scale in (1e-30, 1.0, 1e4):
        states = program(inputs[0] * scale, *inputs[1:])
        assert bool(((states >= limits[0]) & (states <= limits[1])).all())


def test_each_carry_has_its_own_range() -> None:
    repeat = recurrence(lstm, torch.randn(T, B, N), torch.randn(N, 4 * N))
    outputs = tuple(read.output for read in repeat.reads if isinstance(read, Lag))
    assert sorted(carried_ranges(repeat, outputs)) == [EVERYTHING, (-1, 1)]
