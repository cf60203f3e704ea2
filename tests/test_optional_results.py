"""Operators with results that are not always there: a layer's workspace, gradients of what wants none."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fxsolve
from tests.goldens import IS_OLDER
from tests.turns import in_turn

B, T, N = 2, 7, 6
CALLS = 3


class Encoded(nn.Module):
    """An LSTM in front of a loop."""

    def __init__(self, both: bool = False, bias: bool = True) -> None:
        super().__init__()
        self.encoder = nn.LSTM(N, N // (1 + both), bias=bias, batch_first=True, bidirectional=both)
        self.mix = nn.Linear(N, N)

    def forward(self, x: Tensor) -> Tensor:
        h = self.encoder(x)[0]
        for _ in range(5):
            h = h + torch.tanh(self.mix(h))
        return h


class Stacked(Encoded):
    """An LSTM in every step of a loop."""

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(4):
            x = x + torch.tanh(self.mix(self.encoder(x)[0]))
        return x


class Fixed(Encoded):
    """An LSTM that is read without gradients, and once more with them."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            y = self.encoder(x)[0]
        for _ in range(4):
            x = torch.tanh(self.mix(x) + y)
        return x + self.encoder(x)[0]


MODELS: dict[str, Callable[[], nn.Module]] = {
    "in front": Encoded,
    "both ways": lambda: Encoded(both=True),
    "without biases": lambda: Encoded(bias=False),
    "in every step": Stacked,
    "without gradients": Fixed,
}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", MODELS)
def test_an_lstm_has_its_own_bits_in_training_and_evaluation_and_any_grad_mode(kind: str, training: bool) -> None:
    torch.manual_seed(0)
    model = MODELS[kind]().train(training)
    fast = fxsolve.compile(model, backend="eager", schedule="gs")
    for _ in range(CALLS):
        x = torch.randn(B, T, N, requires_grad=True)
        with torch.no_grad():
            torch.testing.assert_close(fast(x), model(x), rtol=0, atol=0)
        results = fast(x), model(x)
        ours, own = (torch.autograd.grad(y.square().sum(), [x, *model.parameters()]) for y in results)
        torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)
        torch.testing.assert_close(ours, own, rtol=1e-5, atol=1e-6)
    assert [entry.reason for entry in fast.entries if entry.status != "emitted"] == []


W, V = torch.linspace(-1, 2, N, dtype=torch.float64), torch.linspace(0.5, 1, N, dtype=torch.float64)
MEAN, VARIANCE = torch.zeros(T, dtype=torch.float64), torch.ones(T, dtype=torch.float64)
KERNEL = torch.linspace(-1, 1, T * T * 3, dtype=torch.float64).reshape(T, T, 3).sin()
TABLE = torch.linspace(0, 3, 9 * N, dtype=torch.float64).reshape(9, N).cos()
INDEX = torch.tensor([0, 3, 8, 1])

STEPS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "layer_norm": lambda x, w: F.layer_norm(x * w, (N,)),
    "layer_norm with a fixed weight": lambda x, w: F.layer_norm(x * w, (N,), W, V),
    "layer_norm of what wants nothing": lambda x, w: x + F.layer_norm(W.expand(B, T, N), (N,), w, None),
    "group_norm": lambda x, w: F.group_norm(x * w, 1),
    "group_norm with a fixed weight": lambda x, w: F.group_norm(x * w, 7, MEAN + 1, None),
    "batch_norm in evaluation": lambda x, w: F.batch_norm(x * w, MEAN, VARIANCE),
    "batch_norm without statistics": lambda x, w: F.batch_norm(x * w, None, None, MEAN + 1, None, training=True),
    "instance_norm": lambda x, w: F.instance_norm(x * w),
    "rms_norm": lambda x, w: F.rms_norm(x * w, (N,)),
    "convolution with a fixed kernel": lambda x, w: torch.tanh(F.conv1d(x * w, KERNEL, padding=1)),
    "convolution of what wants nothing": lambda x, w: x + F.conv1d(KERNEL[:2, :, :1].mT, w[:1, None, None]).sum(),
    "attention": lambda x, w: F.scaled_dot_product_attention(x * w, x, x),
    "attention with a mask": lambda x, w: F.scaled_dot_product_attention(x * w, x, x, is_causal=True),
    "attention on several heads": lambda x, w: F.scaled_dot_product_attention((x * w)[None], x[None], W * x[None])[0],
    "embedding_bag": lambda x, w: torch.tanh(x * w + F.embedding_bag(INDEX, TABLE * w, torch.tensor([0, 2])).sum(0)),
    "singular values": lambda x, w: x + torch.linalg.svdvals(x * w).sum(),
    "eigenvalues": lambda x, w: x + torch.linalg.eigvalsh((x * w).mT @ x).sum() / 50,
    "eigenvectors": lambda x, w: x + (torch.linalg.eigh((x * w).mT @ (x * w))[1].abs() @ W[:, None]).mT,
    "a solve": lambda x, w: x + torch.linalg.solve(torch.diag(w) + 3, W) / 4,
    "a determinant": lambda x, w: x + torch.linalg.slogdet(torch.diag(w) + 0.1)[1] / 9,
    "aminmax": lambda x, w: x * w - torch.stack(torch.aminmax(x)).mean(),
}


@pytest.mark.parametrize(
    ("kind", "wants", "schedule"),
    [*in_turn(STEPS, ["x", "w"], ["gs", "jacobi"]), *in_turn(STEPS, ["x and w"], ["jacobi", "gs"])],
)
def test_results_that_are_missing_are_missed_by_nothing(kind: str, wants: str, schedule: str) -> None:
    if kind == "aminmax" and IS_OLDER:
        pytest.skip("torch before 2.13 has no derivative of aminmax")
    torch.manual_seed(1)
    w = (torch.rand(N, dtype=torch.float64) + 0.5).requires_grad_("w" in wants)

    def program(x: Tensor) -> Tensor:
        for _ in range(4):
            x = STEPS[kind](x, w)
        return x

    fast = fxsolve.compile(program, backend="eager", schedule=schedule)
    for _ in range(CALLS):
        x = torch.randn(B, T, N, dtype=torch.float64, requires_grad="x" in wants)
        wanted = [one for one in (x, w) if one.requires_grad]
        results = fast(x), program(x)
        torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=1e-9)
        ours, own = (torch.autograd.grad(y.cos().sum(), wanted, allow_unused=True) for y in results)
        for one, other in zip(ours, own, strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-7)
    assert fast.report().status == "emitted", fast.report().reason
