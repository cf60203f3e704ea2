"""Depth of the pattern in which steps read one another, against a brute-force search for chains."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import fxsolve
from fxsolve.ir.spec import Prefix
from fxsolve.plan.causality import judge
from fxsolve.plan.depth import dependency_depth, longest_chain
from fxsolve.plan.structural import constants_of, known_values
from fxsolve.solvers.solution import observe
from fxsolve.structure.levels import depth_of_prefixes

D, B = 12, 2


class Sampler(torch.nn.Module):
    """x_i = tanh(sum_j mask_ij w_ij x_j) + noise_i, one entry after another."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)
        self.weight = torch.nn.Parameter(torch.randn(len(mask), len(mask), dtype=torch.float64))

    def forward(self, noise: Tensor) -> Tensor:
        x = torch.zeros_like(noise)
        for i in range(len(self.mask)):
            x[:, i] = torch.tanh(F.linear(x, self.weight * self.mask))[:, i] + noise[:, i]
        return x


def chain(mask: Tensor) -> int:
    """The longest chain of the pattern, by the definition of a level."""
    levels: list[int] = []
    for row in mask.tolist():
        levels.append(1 + max((levels[j] for j in range(len(levels)) if row[j]), default=0))
    return max(levels)


def depths(mask: Tensor) -> tuple[int, int]:
    """What follows from the latest reads, and what the pattern says."""
    noise = torch.randn(B, len(mask), dtype=torch.float64)
    with torch.no_grad():
        program = fxsolve.capture(Sampler(mask), noise)
        system = fxsolve.partition(program).system
    (repeat,) = (one for one in system.repeats if any(isinstance(read, Prefix) for read in one.reads))
    structural = known_values(system, constants_of(program))
    bound = judge(repeat, structural).depth
    assert bound is not None
    return bound, dependency_depth(repeat, structural)


def made_masks(seed: int) -> Tensor:
    """The pattern of a MADE with one hidden layer of few units."""
    degrees = torch.randint(0, D - 1, (5,), generator=torch.Generator().manual_seed(seed))
    entries = torch.arange(D)
    return ((entries[:, None] > degrees[None]).double() @ (degrees[:, None] >= entries[None]).double() > 0).double()


@pytest.mark.parametrize("seed", range(4))
def test_the_depth_of_a_made_follows_from_its_masks(seed: int) -> None:
    mask = made_masks(seed)
    assert depths(mask) == (chain(mask), chain(mask))
    assert chain(mask) < D


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.1, 0.3, 0.7]))
def test_no_chain_is_longer_than_the_depth(seed: int, density: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.tril((torch.rand(D, D, generator=generator) < density).double(), -1)
    bound, depth = depths(mask)
    assert chain(mask) <= depth <= bound <= D
    assert depth == chain(mask) or chain(mask) > 8  # deeper patterns are bounded, not searched


def test_levels_sweep_as_often_as_the_pattern_is_deep() -> None:
    rows = torch.arange(D) // 3
    mask = torch.tril((rows[:, None] == rows[None]).double(), -1)  # four chains of three
    model, noise = Sampler(mask), torch.randn(B, D, dtype=torch.float64)
    with torch.no_grad():
        fast = fxsolve.compile(model, schedule="levels", backend="eager")
        fast(noise)
        with observe() as seen:
            torch.testing.assert_close(fast(noise), model(noise), rtol=1e-12, atol=1e-12)
    (solution,) = [one for one in seen if one.method == "levels"]
    assert (solution.sweeps, solution.status) == (3, "exact")
    assert f"3 of {D} steps, proved" in str(fast.report())


def test_lags_alone_tell_the_depth() -> None:
    def program(x: Tensor) -> Tensor:
        a, b, c = x[0], x[1], x[2]
        for x_t in x:
            a, b, c = b, c, torch.sin(a) + 0.5 * torch.cos(b) + x_t
        return c

    x = torch.randn(11, 3, dtype=torch.float64)
    with torch.no_grad():
        fast = fxsolve.compile(program, schedule="levels", backend="eager")
        fast(x)
        with observe() as seen:
            torch.testing.assert_close(fast(x), program(x), rtol=1e-12, atol=1e-12)
    assert [(one.method, one.sweeps) for one in seen] == [("levels", 6)]  # ceil(11 / 2)
    (repeat,) = fxsolve.partition(fxsolve.capture(program, x)).system.repeats
    assert longest_chain(repeat) == 6


def test_a_buffer_that_is_only_written_adds_no_depth() -> None:
    def program(x: Tensor) -> tuple[Tensor, Tensor]:
        a, b, y = x[0], x[1], torch.zeros_like(x)
        for t in range(len(x)):
            a, b = b, torch.sin(a).masked_fill(a > 0.4, 0.25) + x[t]
            y[t] = torch.tanh(b)
        return b, y

    x = torch.randn(11, 3, dtype=torch.float64)
    with torch.no_grad():
        fast = fxsolve.compile(program, schedule="levels", backend="eager")
        fast(x)
        with observe() as seen:
            for result, value in zip(fast(x), program(x), strict=True):
                torch.testing.assert_close(result, value, rtol=1e-12, atol=1e-12)
    assert ("levels", 6) in [(one.method, one.sweeps) for one in seen]


def test_a_leak_in_the_pattern_forbids_levels() -> None:
    model, noise = Sampler(torch.ones(D, D, dtype=torch.float64)), torch.randn(B, D, dtype=torch.float64)
    with torch.no_grad():
        fast = fxsolve.compile(model, schedule="levels", backend="eager")
        torch.testing.assert_close(fast(noise), model(noise))
        assert "levels" not in str(fast.schedule)
        assert any("causality not shown" in note for note in fast.report().notes)


def test_the_depth_of_prefixes_is_that_of_the_full_pattern() -> None:
    assert depth_of_prefixes([-1, 0, 1, 2]) == 4
    assert depth_of_prefixes([-1, -1, -1]) == 1
    assert depth_of_prefixes([-1, -1, 1, 1, 2]) == 3
