"""Solves stand in a profile under the names of their loops, and are called as they are without one."""

import pytest
import torch
from torch import Tensor
from torch.profiler import profile

import fxsolve


def loop(x: Tensor) -> Tensor:
    h = x[0]
    for x_t in x:
        h = torch.tanh(h + x_t)
    return h


@pytest.mark.parametrize("schedule", ["gs", "jacobi"])
def test_a_profile_shows_each_loop_with_its_method(schedule: str) -> None:
    fast, x = fxsolve.compile(loop, schedule=schedule, backend="eager"), torch.ones(16, 3)
    for _ in range(2):
        fast(x)
    with profile() as seen:
        fast(x)
    method = {"gs": "gauss_seidel", "jacobi": "jacobi"}[schedule]
    assert f"fxsolve: {method}(loop0)" in {event.key for event in seen.key_averages()}
