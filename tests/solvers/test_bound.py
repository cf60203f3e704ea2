import math
from itertools import count, repeat

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fxsolve.solvers.bound import amplification, bound_by_jacobian, disturb


def propagate(jacobian: Tensor, errors: Tensor) -> Tensor:
    states = [errors[0]]
    for factor, error in zip(jacobian[1:], errors[1:], strict=True):
        states.append((factor @ states[-1].unsqueeze(-1)).squeeze(-1) + error)
    return torch.stack(states)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 150), st.integers(1, 4), st.floats(0.2, 2.0), st.integers(0, 2**32))
def test_no_error_that_single_steps_bring_grows_beyond_the_bound(length: int, n: int, gain: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    jacobian = gain * torch.randn(length, 2, n, n, generator=generator, dtype=torch.float64) / n**0.5
    source = torch.rand(length, 2, generator=generator, dtype=torch.float64)
    signs = torch.randint(0, 2, (length, 2, n), generator=generator) * 2 - 1
    reached = propagate(jacobian, signs * source.unsqueeze(-1)).abs().amax(-1)
    assert (reached <= bound_by_jacobian(jacobian, source) * (1 + 1e-12)).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 150), st.floats(0.2, 1.5), st.integers(0, 2**32))
def test_the_bound_of_a_scalar_chain_is_reached(length: int, gain: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    jacobian = gain * torch.rand(length, 1, 1, generator=generator, dtype=torch.float64)
    source = torch.rand(length, generator=generator, dtype=torch.float64)
    reached = propagate(jacobian, source.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(bound_by_jacobian(jacobian, source), reached, rtol=1e-10, atol=0.0)


def test_a_step_that_grows_in_a_product_that_shrinks_has_a_bound() -> None:
    """[[0, 3], [0, 0]] has norm 3, but its square is 0."""
    jacobian = torch.zeros(2000, 2, 2, dtype=torch.float64)
    jacobian[:, 0, 1] = 3.0
    assert bound_by_jacobian(jacobian, torch.ones(2000)).amax() <= 4.0


def test_products_that_overflow_have_no_bound() -> None:
    jacobian = torch.full((3000, 1, 1), 10.0)
    assert bound_by_jacobian(jacobian, torch.ones(3000)).amax() == math.inf


@pytest.mark.parametrize(("factor", "wanted"), [(0.5, 2.0), (0.9, 10.0), (-0.5, 2.0)])
def test_sizes_tell_what_a_contraction_makes_of_an_error(factor: float, wanted: float) -> None:
    total, rate = amplification((1e-6 * abs(factor) ** k for k in count(1)), 1e-6)
    assert wanted <= total <= 8 * wanted
    assert rate == pytest.approx(abs(factor))


def test_a_disturbance_that_does_not_shrink_has_no_bound() -> None:
    assert amplification(repeat(1e-3), 1e-3) == (math.inf, 1.0)
    assert amplification(repeat(math.nan), 1e-3) == (math.inf, 1.0)


def test_discrete_values_are_not_disturbed_and_others_by_the_size_asked_for() -> None:
    state = torch.get_rng_state()
    numbers, labels = torch.zeros(50), torch.arange(50)
    assert torch.equal(disturb(labels, 1e-3), labels)
    moved = disturb(numbers, 1e-3)
    assert moved.abs().unique().tolist() == [pytest.approx(1e-3)]
    assert moved.min() < 0 < moved.max()
    assert torch.equal(torch.get_rng_state(), state)
