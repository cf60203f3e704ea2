"""Tensors that are written into while one iterates over them: the loop is rolled, and the values are the same.

Autograd allows no such writes, so they are made under `no_grad`, or by a function with a derivative of its own.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

import fxsolve

T, B, N = 8, 2, 3


def over_rows(x: Tensor) -> Any:
    x, h = x.clone(), x.new_zeros(B, N)
    for row in x:
        row += h
        h = torch.sin(row)
    return x, h


def over_the_last_dimension(x: Tensor) -> Any:
    """The loop of an IIR filter, as libraries write it: inputs are turned to the front and written over."""
    x, taps = x.permute(1, 2, 0).clone(), torch.linspace(0.1, 0.3, 2)
    outputs = x.new_zeros(B, N, T + 2)
    for i, now in enumerate(x.permute(2, 0, 1)):
        now -= outputs[:, :, i : i + 2] @ taps
        outputs[:, :, i + 2] = now
    return outputs


def transposed_rows(x: Tensor) -> Any:
    """Each row is written through a view whose dimensions are the other way round."""
    x, h = x.clone(), x.new_zeros(N, B)
    for row in x.transpose(1, 2):
        row.mul_(0.5).add_(h)
        h = torch.tanh(row)
    return x, h


def rows_and_next(x: Tensor) -> Any:
    """Each step also writes the row that the next one reads."""
    x = x.clone()
    rows = x.unbind(0)
    for row, following in pairwise(rows):
        following += torch.sin(row)
    return x


PROGRAMS = [over_rows, over_the_last_dimension, transposed_rows, rows_and_next]


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("schedule", ["gs", "jacobi"])
@torch.no_grad()
def test_the_loop_is_rolled(program: Callable[[Tensor], Any], schedule: str) -> None:
    fast = fxsolve.compile(program, schedule=schedule, backend="eager")
    tolerance = 0.0 if schedule == "gs" else 1e-5
    for _ in range(2):
        x = torch.randn(T, B, N)
        torch.testing.assert_close(fast(x), program(x), rtol=tolerance, atol=tolerance)
    report = fast.report()
    assert report.status == "emitted", report.reason
    assert max(run.length for run in report.runs) >= T - 2
