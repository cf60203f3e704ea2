"""Where sweeps change no more than rounding does, Jacobi ends: converged, or in order where that is not enough."""

import pytest
import torch
from torch import Tensor, nn

from fxsolve.solvers.jacobi import jacobi
from fxsolve.solvers.loop import Loop, LoopLag
from fxsolve.solvers.solution import Solution, observe

STEPS, SIZE = 600, 96


class Wide(nn.Module):
    """s_t = tanh(s_{t-1} W + x_t), a contraction whose products round differently in every sweep."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.randn(SIZE, SIZE, generator=generator) * gain / SIZE**0.5

    def forward(self, state: Tensor, x: Tensor) -> tuple[Tensor]:
        noise = torch.randn(state.shape, generator=torch.Generator().manual_seed(int(state.sum() * 1e6) % 1000))
        return (torch.tanh(state @ self.weight + x) * (1 + 2e-7 * noise.sign()),)


class Drift(nn.Module):
    """s_t = s_{t-1} + x_t: every sweep changes the rest by as little."""

    def forward(self, state: Tensor, x: Tensor) -> tuple[Tensor]:
        return (state + x,)


def solve(body: nn.Module, x: Tensor, tolerance: float) -> tuple[Tensor, Solution]:
    loop = Loop(body, len(x), lags=(LoopLag(0, 1),), stacked=(0,), name="loop")
    with observe() as seen, torch.no_grad():
        (states,) = jacobi(loop, ((torch.zeros(1, SIZE),),), (), (x,), (), tolerance, 0.0, None, (0, len(x)))
    return states, seen[-1]


def inputs() -> Tensor:
    return torch.randn(STEPS, 1, SIZE, generator=torch.Generator().manual_seed(1))


def test_changes_at_the_level_of_rounding_end_the_sweeps() -> None:
    states, solution = solve(Wide(0.7), inputs(), 1e-6)
    assert solution.status == "converged"
    assert solution.sweeps < 60
    state, weight = torch.zeros(1, SIZE, dtype=torch.float64), Wide(0.7).weight.double()
    for x_t, found in zip(inputs().double(), states, strict=True):
        state = torch.tanh(state @ weight + x_t)
        assert (found - state).abs().max() < 1e-5


def test_rounding_above_the_tolerance_is_finished_in_order() -> None:
    _, solution = solve(Wide(0.7), inputs(), 1e-8)
    assert solution.status == "finished sequentially"


@pytest.mark.parametrize("scale", [5e-8, 5e-7])
def test_small_changes_that_add_up_are_no_rounding(scale: float) -> None:
    states, _ = solve(Drift(), torch.full((STEPS, 1, SIZE), scale), 1e-6)
    assert states[-1].mean().item() == pytest.approx(STEPS * scale, rel=1e-3)
