"""How closely loops are solved: by their dtype."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fxsolve.ir.spec import Repeat, System
from fxsolve.plan.method import Steps
from fxsolve.plan.methods.jacobi import Jacobi
from fxsolve.plan.methods.newton import Newton
from fxsolve.plan.text import parse_schedule
from fxsolve.plan.tolerance import loosest_stop, state_dtype, stop_of
from fxsolve.solvers.stop import Stop, default_stop
from fxsolve.stages import capture, partition

T = 5


def bounded(x: Tensor) -> Tensor:
    h = x[0]
    for x_t in x:
        h = torch.tanh(h * 0.5 + x_t)
    return h


def affine(x: Tensor) -> Tensor:
    h = x[0]
    for x_t in x:
        h = x_t * h + x_t
    return h


def counted(x: Tensor) -> Tensor:
    h = x[0]
    for x_t in x:
        h = (h * 3 + x_t) % 7
    return h


def apart(x: Tensor) -> Tensor:
    return torch.stack([torch.tanh(x_t).exp() * 2 for x_t in x])


def system_of(program: Callable[[Tensor], Tensor], dtype: torch.dtype = torch.float32) -> System:
    return partition(capture(program, torch.ones(T, 3, dtype=dtype))).system


def loop_of(program: Callable[[Tensor], Tensor], dtype: torch.dtype = torch.float32) -> Repeat:
    return system_of(program, dtype).repeats[-1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_test_is_that_of_the_dtype_and_has_no_absolute_size(dtype: torch.dtype) -> None:
    tolerance = default_stop(dtype).rtol
    assert stop_of(loop_of(bounded, dtype)) == stop_of(loop_of(affine, dtype)) == Stop(0.0, tolerance)


def test_integers_have_no_tolerance() -> None:
    assert state_dtype(loop_of(counted, torch.int64)) is torch.int64
    assert stop_of(loop_of(counted, torch.int64)) == Stop(0.0, 0.0)


def test_the_least_precise_output_decides() -> None:
    def program(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h, coarse, n = x[0], x[0].bfloat16(), torch.zeros(3, dtype=torch.int64)
        for x_t in x:
            h = torch.tanh(h + x_t)
            coarse = torch.tanh(coarse + h.bfloat16())
            n = (n + coarse.long()) % 5
        return h, coarse, n

    repeats = system_of(program).repeats  # pyright: ignore[reportArgumentType]
    assert torch.bfloat16 in map(state_dtype, repeats)


@pytest.mark.parametrize(
    ("text", "asked", "wanted"),
    [
        ("gs", None, 0.0),
        ("jacobi", None, 1e-6),
        ("jacobi", Stop(1e-3, 1e-4), 1e-3),
        ("jacobi(loop0[0:5], atol=0, rtol=0.25)", Stop(1e-3, 1e-4), 0.25),
        ("gs(loop0[0:2], newton(loop0[2:4], atol=0.5, rtol=0), jacobi(loop0[4:5]))", None, 0.5),
        ("scan", None, 0.0),
    ],
)
def test_the_loosest_test_of_a_schedule_is_that_of_its_recurrences(
    text: str, asked: Stop | None, wanted: float
) -> None:
    system = system_of(bounded)
    assert loosest_stop(system, parse_schedule(text, system), asked) == wanted


def test_steps_that_read_no_other_are_exact() -> None:
    system = system_of(apart)
    (repeat,) = system.repeats
    swept = Jacobi(Steps(repeat.name, 0, T), Stop(0.1, 0.1))
    assert loosest_stop(system, swept, Stop(0.2, 0.2)) == 0.0


def test_a_method_without_a_test_takes_the_one_asked_for() -> None:
    system = system_of(bounded)
    (repeat,) = system.repeats
    assert loosest_stop(system, Newton(Steps(repeat.name, 0, T)), Stop(0.2, 0.1)) == 0.2
