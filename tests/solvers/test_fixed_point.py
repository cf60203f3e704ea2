import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fxsolve.solvers.fixed_point import fixed_point
from fxsolve.solvers.gauss_seidel import gauss_seidel
from fxsolve.solvers.loop import Loop, LoopLag
from fxsolve.solvers.solution import observe


class Triangular(nn.Module):
    """s <- act(s L + u) with strictly lower triangular L: settled after as many steps as s has entries."""

    def forward(self, s: Tensor, weights: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        new = torch.tanh((s.unsqueeze(-2) * weights.tril(-1)).sum(-1) + u)
        return new, new.sum() * s


class Negate(nn.Module):
    """0.0 and -0.0 in turn: equal as numbers, different bits."""

    def forward(self, s: Tensor) -> tuple[Tensor, Tensor]:
        return -s, 1 / s


class Swap(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return b, a


class Stay(nn.Module):
    def forward(self, s: Tensor) -> tuple[Tensor]:
        return (s * 1,)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 6), st.sampled_from([torch.float32, torch.float64]), st.integers(0, 10**6))
def test_stopping_early_equals_running_every_step(length: int, size: int, dtype: torch.dtype, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weights, u, s = (torch.randn(shape, generator=generator, dtype=dtype) for shape in ((size, size), (size,), (size,)))
    loop = Loop(Triangular(), length, (LoopLag(0, 1),), stacked=(1, 0), last=(0, 1))
    expected = gauss_seidel(loop, ((s,),), (), (), (weights, u))
    with observe() as seen:
        results = fixed_point(loop, ((s,),), (weights, u))
    for result, wanted in zip(results, expected, strict=True):
        assert result.shape == wanted.shape
        assert torch.equal(result.view(torch.uint8), wanted.view(torch.uint8))
    assert seen[0].sweeps <= min(length, size + 1)
    assert seen[0].prefix == length


def test_a_map_with_a_small_depth_stops_one_step_behind_it() -> None:
    loop = Loop(Triangular(), 100, (LoopLag(0, 1),), last=(0,))
    with observe() as seen:
        fixed_point(loop, ((torch.zeros(5),),), (-torch.ones(5, 5), torch.ones(5)))
    assert (seen[0].sweeps, seen[0].status, seen[0].method) == (6, "fixed point", "fixed_point")


def test_a_sign_of_zero_is_a_change() -> None:
    loop = Loop(Negate(), 5, (LoopLag(0, 1),), stacked=(1,))
    with observe() as seen:
        (inverse,) = fixed_point(loop, ((torch.tensor(0.0),),), ())
    assert inverse.tolist() == [math.inf, -math.inf, math.inf, -math.inf, math.inf]
    assert seen[0].status != "fixed point"


def test_every_carried_state_must_settle() -> None:
    loop = Loop(Swap(), 5, (LoopLag(0, 1), LoopLag(1, 1)), last=(0,))
    (last,) = fixed_point(loop, ((torch.tensor(1),), (torch.tensor(2),)), ())
    assert last.item() == 2


def test_a_nan_that_stays_is_settled() -> None:
    loop = Loop(Stay(), 50, (LoopLag(0, 1),), last=(0,))
    with observe() as seen:
        (last,) = fixed_point(loop, ((torch.tensor([math.nan, 1.0]),),), ())
    assert seen[0].sweeps == 1
    assert last[0].isnan()


@pytest.mark.parametrize("value", [torch.tensor([True]), torch.tensor([1 + 2j]), torch.tensor([1.0]).bfloat16()])
def test_every_kind_of_state_is_compared(value: Tensor) -> None:
    loop = Loop(Swap(), 4, (LoopLag(0, 1), LoopLag(1, 1)), stacked=(0,))
    with observe() as seen:
        fixed_point(loop, ((value,), (value.clone(),)), ())
        fixed_point(loop, ((value,), (value.logical_not().to(value.dtype),)), ())
    assert [solution.sweeps for solution in seen] == [1, 4]


class Turn(nn.Module):
    """A rotation of as many entries as there are: they are in their places again after that many steps."""

    def forward(self, s: Tensor) -> tuple[Tensor, Tensor]:
        return s.roll(1), 2 * s


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.integers(1, 9))
def test_a_cycle_of_any_period_ends_as_all_steps_do(length: int, period: int) -> None:
    loop = Loop(Turn(), length, (LoopLag(0, 1),), stacked=(1, 0), last=(0, 1))
    s = torch.arange(period)
    expected = gauss_seidel(loop, ((s,),), (), (), ())
    with observe() as seen:
        results = fixed_point(loop, ((s,),), ())
    assert all(map(torch.equal, results, expected))
    assert seen[0].sweeps <= 20 * period


def test_a_map_that_rounding_keeps_moving_stops_in_its_cycle() -> None:
    torch.manual_seed(0)
    weights, u = torch.randn(24, 24) / 12, torch.randn(8, 24)

    class Contract(nn.Module):
        def forward(self, s: Tensor) -> tuple[Tensor]:
            return (torch.tanh(s @ weights + u),)

    loop = Loop(Contract(), 2000, (LoopLag(0, 1),), stacked=(0,), last=(0,))
    with observe() as seen:
        results = fixed_point(loop, ((torch.zeros(8, 24),),), ())
    assert all(map(torch.equal, results, gauss_seidel(loop, ((torch.zeros(8, 24),),), (), (), ())))
    assert (seen[0].status, seen[0].prefix) == ("periodic", 2000)
    assert seen[0].sweeps < 500  # where the cycle begins, and how long it is, is for the processor to say


class Widen(nn.Module):
    def forward(self, s: Tensor) -> tuple[Tensor]:
        return (s.double(),)


class Broadcast(nn.Module):
    def forward(self, s: Tensor) -> tuple[Tensor]:
        return (s + torch.zeros(3),)


@pytest.mark.parametrize("body", [Widen(), Broadcast()])
def test_a_state_that_changes_its_type_or_shape_has_not_settled(body: nn.Module) -> None:
    with observe() as seen:
        fixed_point(Loop(body, 3, (LoopLag(0, 1),), last=(0,)), ((torch.zeros(1),),), ())
    assert seen[0].sweeps == 2
