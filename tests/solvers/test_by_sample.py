"""Sweeps that leave out settled samples: right for any samples, and no more work than is left to do."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fxsolve.solvers.by_sample import jacobi_by_sample
from fxsolve.solvers.gauss_seidel import gauss_seidel
from fxsolve.solvers.jacobi import jacobi
from fxsolve.solvers.loop import Buffer, Loop, LoopLag
from fxsolve.solvers.samples import SampleLoops
from fxsolve.solvers.solution import Solution, observe

SIZE = 3


class Coupled(nn.Module):
    """s_t = tanh(g_b (W s_{t-1}) + u_t) for each sample b, (..., B, n); counts the samples that it is given."""

    def __init__(self, mixed: float = 0.0) -> None:
        super().__init__()
        self.weight = torch.randn(SIZE, SIZE, dtype=torch.float64) / SIZE**0.5
        self.mixed = mixed
        self.samples: list[int] = []

    def forward(self, state: Tensor, arriving: Tensor, gains: Tensor) -> tuple[Tensor, ...]:
        self.samples.append(state.shape[-2])
        new = torch.tanh(gains[:, None] * (state @ self.weight) + arriving)
        return (new + self.mixed * new.mean(-2, keepdim=True) / 2,)


class Discrete(nn.Module):
    """x_t = (sum of x_<t + u_t) mod 3 for each sample, along the rows of a buffer (B, T)."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.mask = torch.ones(length, length, dtype=torch.int64).tril(-1)

    def forward(self, buffer: Tensor, step: Tensor, arriving: Tensor) -> tuple[Tensor, ...]:
        seen = (buffer * self.mask[step.reshape(-1, 1)]).sum(-1)
        new = (seen * (arriving.reshape(len(seen), -1) > 0) + arriving.reshape(len(seen), -1)) % 3
        return (new.reshape(arriving.shape),)


def solved(body: nn.Module, gains: Tensor, x: Tensor, sizes: tuple[int, ...], tol: float) -> tuple[Tensor, Solution]:
    """The states (T, B, n) by sweeps with smaller batches of these sizes."""
    length = len(x)
    loop = Loop(body, length, (LoopLag(0, 1),), (), (0,))
    samples = SampleLoops({size: Loop(body, length, (LoopLag(0, 1),), (), (0,)) for size in sizes}, (1, 1, 0), {0: 1})
    with observe() as seen:
        (states,) = jacobi_by_sample(
            loop, samples, ((torch.zeros_like(x[0]),),), (), (x,), (gains,), tol, tol, None, (0, length)
        )
    (solution,) = seen
    return states, solution


def in_order(body: nn.Module, gains: Tensor, x: Tensor) -> Tensor:
    loop = Loop(body, len(x), (LoopLag(0, 1),), (), (0,))
    return gauss_seidel(loop, ((torch.zeros_like(x[0]),),), (), (x,), (gains,))[0]


def mixed_batch(batch: int, length: int, hard: int) -> tuple[Tensor, Tensor]:
    """Gains of which so many are marginal, the rest tame, and what arrives."""
    gains = torch.full((batch,), 0.02, dtype=torch.float64)
    gains[:: max(batch // hard, 1)] = 1.0
    return gains, torch.randn(length, batch, SIZE, dtype=torch.float64)


def test_settled_samples_are_left_out_and_the_last_sweep_is_of_all() -> None:
    torch.manual_seed(0)
    body, (gains, x) = Coupled(), mixed_batch(16, 60, 2)
    expected = in_order(body, gains, x)
    plain = Loop(body, 60, (LoopLag(0, 1),), (), (0,))
    body.samples.clear()
    with observe() as seen:
        jacobi(plain, ((torch.zeros_like(x[0]),),), (), (x,), (gains,), 1e-10, 1e-10, None, (0, 60))
    work = sum(body.samples)
    body.samples.clear()
    states, solution = solved(body, gains, x, (8, 4, 2), 1e-10)
    torch.testing.assert_close(states, expected, rtol=0, atol=1e-9)
    assert (solution.method, solution.status) == ("jacobi_by_sample", "converged")
    assert 2 in body.samples
    assert body.samples[-1] == 16
    assert sum(body.samples) < 0.6 * work
    assert solution.sweeps == len(body.samples) <= seen[0].sweeps + 4


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 12),
    st.integers(1, 30),
    st.integers(1, 3),
    st.sets(st.integers(2, 11)),
    st.sampled_from([0.0, 1e-12, 1e-6]),
    st.integers(0, 1000),
)
def test_any_samples_in_any_batches_are_right(
    batch: int, length: int, hard: int, sizes: set[int], tol: float, seed: int
) -> None:
    torch.manual_seed(seed)
    body, (gains, x) = Coupled(), mixed_batch(batch, length, hard)
    states, solution = solved(body, gains, x, tuple(size for size in sizes if size < batch), tol)
    torch.testing.assert_close(states, in_order(body, gains, x), rtol=0, atol=1e-12 + 100 * tol)
    assert solution.status != "finished sequentially"
    assert solution.prefix == length or tol > 0


@settings(max_examples=40, deadline=None)
@given(st.integers(4, 12), st.integers(2, 25), st.sampled_from([0.0, 1e-10]), st.integers(0, 1000))
def test_samples_that_do_mix_cost_sweeps_but_never_a_wrong_value(
    batch: int, length: int, tol: float, seed: int
) -> None:
    torch.manual_seed(seed)
    body, (gains, x) = Coupled(mixed=1.0), mixed_batch(batch, length, 1)
    states, _ = solved(body, gains, x, (2, 3), tol)
    torch.testing.assert_close(states, in_order(body, gains, x), rtol=0, atol=1e-12 + 1e4 * tol)


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 10), st.integers(2, 25), st.integers(0, 1000))
def test_discrete_states_are_equal_and_known_to_be(batch: int, length: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 3, (length, batch), generator=generator)
    x[:, 1:] *= torch.rand(length, batch - 1, generator=generator) < 0.1
    body, steps = Discrete(length), torch.arange(length)
    loop = Loop(body, length, (), (Buffer(0, 1, tuple(range(length))),), (0,))
    samples = SampleLoops({2: loop}, (0, None, 1), {0: 1})
    zeros = torch.zeros(batch, length, dtype=torch.int64)
    with observe() as seen:
        (found, _) = jacobi_by_sample(loop, samples, (), (zeros,), (steps, x), (), 0.0, 0.0, None, (0, length))
    assert torch.equal(found, gauss_seidel(loop, (), (zeros,), (steps, x), ())[0])
    assert (seen[0].status, seen[0].prefix) == ("exact", length)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_sample_that_is_not_finite_comes_out_as_in_order(bad: float) -> None:
    torch.manual_seed(0)
    body, (gains, x) = Coupled(), mixed_batch(8, 20, 1)
    x[7, 3] = bad
    states, _ = solved(body, gains, x, (4, 2), 1e-9)
    torch.testing.assert_close(states, in_order(body, gains, x), rtol=0, atol=1e-8, equal_nan=True)
