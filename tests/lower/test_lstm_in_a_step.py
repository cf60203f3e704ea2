"""A step may call an LSTM of a library: its steps are batched where no backward pass is to follow."""

import copy

import pytest
import torch
from torch import Tensor, nn

import fxsolve

T, B, N = 12, 2, 4


class Decoder(nn.Module):
    """Its output is the next input."""

    def __init__(self, layers: int, both: bool, first: bool) -> None:
        super().__init__()
        self.lstm = nn.LSTM(N, N, layers, bidirectional=both, batch_first=first, bias=layers == 1)
        self.head, self.time = nn.Linear(N * (1 + both), N), int(first)

    def forward(self, x: Tensor) -> Tensor:
        state, y, out = None, torch.zeros_like(x[0]), []
        for x_t in x:
            y, state = self.lstm((y + x_t).unsqueeze(self.time), state)
            y = self.head(y.squeeze(self.time))
            out.append(y)
        return torch.stack(out)


@pytest.mark.parametrize(
    ("layers", "both", "first", "schedule"),
    [(1, False, False, "jacobi"), (2, False, True, "newton"), (1, True, True, "jacobi")],
)
@torch.no_grad()
def test_its_steps_are_run_at_once(layers: int, both: bool, first: bool, schedule: str) -> None:
    model = Decoder(layers, both, first)
    exact, fast = copy.deepcopy(model).double(), fxsolve.compile(model, backend="eager", schedule=schedule)
    for _ in range(3):
        x = torch.randn(T, B, N)
        torch.testing.assert_close(fast(x).double(), exact(x.double()), rtol=0, atol=1e-5)
    assert f"{schedule}(loop0[0:" in str(fast.schedule)


def test_where_gradients_are_wanted_they_run_in_order() -> None:
    model = Decoder(1, False, False)
    fast = fxsolve.compile(model, backend="eager", schedule="jacobi")
    x = torch.randn(T, B, N)
    ours, own = (torch.autograd.grad(one(x).square().sum(), list(model.parameters())) for one in (fast, model))
    torch.testing.assert_close(ours, own)
    assert "keeps what only its own backward pass reads" in " ".join(fast.report().notes)


@torch.no_grad()
def test_an_lstm_over_many_steps_is_not_written_out() -> None:
    lstm = nn.LSTM(N, N)

    def program(x: Tensor) -> Tensor:
        for _ in range(6):
            x = x + torch.tanh(lstm(x)[0])
        return x

    fast = fxsolve.compile(program, backend="eager", schedule="jacobi")
    x = torch.randn(40, B, N)
    torch.testing.assert_close(fast(x), program(x))
    assert "an LSTM over 40 steps, more than 32" in " ".join(fast.report().notes)
