"""Five programs through the whole compiler in five seconds: `bash tools/test tests/test_smoke.py`."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxsolve

T, B, N = 12, 2, 4

pytestmark = pytest.mark.smoke


def methods_of(fast: Any) -> set[str]:
    report = fast.report()
    assert report.status == "emitted", report.reason
    return {run.method for run in report.runs}


class GRU(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(N, N)

    def forward(self, x: Tensor) -> Tensor:
        h, states = x.new_zeros(B, N), []
        for x_t in x:
            h = self.cell(x_t, h)
            states.append(h)
        return torch.stack(states)


@torch.no_grad()
def test_a_gru_in_order_gives_the_same_bits() -> None:
    model = GRU()
    fast = fxsolve.compile(model, schedule="gs", backend="eager")
    for x in torch.randn(3, T, B, N):
        assert torch.equal(fast(x), model(x))
    assert methods_of(fast) == {"gauss_seidel"}


@torch.no_grad()
def test_a_masked_sampler_swept_at_once_draws_the_same_samples() -> None:
    masked = torch.tril(torch.randn(T, T), -1)

    def sample() -> Tensor:
        x = torch.zeros(B, T)
        for t in range(T):
            x[:, t] = torch.bernoulli(torch.sigmoid(x @ masked.t())[:, t])
        return x

    fast = fxsolve.compile(sample, schedule="jacobi", backend="eager")
    for seed in range(3):
        torch.manual_seed(seed)
        expected, after = sample(), torch.get_rng_state()
        torch.manual_seed(seed)
        assert torch.equal(fast(), expected)
        assert torch.equal(torch.get_rng_state(), after)
    assert methods_of(fast) == {"jacobi"}


@torch.no_grad()
def test_the_inverse_of_a_flow_stops_where_it_has_settled() -> None:
    shift = torch.tril(torch.randn(N, N), -1)

    def inverse(z: Tensor) -> Tensor:
        x = torch.zeros_like(z)
        for _ in range(T):
            x = z - torch.tanh(x @ shift.t())
        return x

    fast = fxsolve.compile(inverse, schedule="gs", backend="eager")
    for z in torch.randn(3, B, N):
        assert torch.equal(fast(z), inverse(z))
    assert methods_of(fast) == {"fixed_point"}
    (run,) = fast.report().runs
    assert run.sweeps < T


def test_a_training_step_gives_the_gradients_of_the_program() -> None:
    weight, initial = torch.randn(N, N, dtype=torch.float64), torch.randn(B, N, dtype=torch.float64)

    def loss(w: Tensor, h: Tensor) -> Tensor:
        for _ in range(T):
            h = torch.tanh(h @ w)
        return h.square().sum()

    def gradient(program: Any) -> Tensor:
        w = weight.clone().requires_grad_()
        program(w, initial).backward()
        assert w.grad is not None
        return w.grad

    fast, expected = fxsolve.compile(loss, schedule="gs", backend="eager"), gradient(loss)
    for _ in range(2):
        torch.testing.assert_close(gradient(fast), expected, rtol=1e-12, atol=1e-12)
    assert "gauss_seidel" in methods_of(fast)


@torch.no_grad()
def test_a_program_without_a_loop_is_left_alone_and_says_why() -> None:
    fast = fxsolve.compile(torch.sin)
    x = torch.randn(N)
    assert torch.equal(fast(x), torch.sin(x))
    report = fast.report()
    assert (report.status, report.schedule) == ("left alone", "original")
    assert report.reason.startswith("no loop was found")
