"""Training steps of programs written by other people: the same values, gradients and state as an untouched copy."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxsolve
from tests.thirdparty.checking import library

pytestmark = [pytest.mark.thirdparty, pytest.mark.filterwarnings("ignore")]

STEPS = 3


def check_training(make: Callable[[], nn.Module], draw: Callable[[], tuple[Any, ...]], rtol: float = 1e-10) -> Any:
    """Steps of gradient descent on the sum of the squares of all results; returns the compiled module."""
    torch.manual_seed(0)
    model = make()
    original = copy.deepcopy(model)
    fast = fxsolve.compile(model, schedule="gs", backend="eager")
    optimizers = [torch.optim.SGD(one.parameters(), 1e-3) for one in (fast, original)]
    for seed in range(STEPS):
        inputs, found = draw(), []
        for one, optimizer in zip((fast, original), optimizers, strict=True):
            torch.manual_seed(seed)
            optimizer.zero_grad()
            results = torch.utils._pytree.tree_leaves(one(*inputs))
            sum(result.square().sum() for result in results if result.requires_grad).backward()  # pyright: ignore
            found.append([*results, *(parameter.grad for parameter in one.parameters())])
            optimizer.step()
        for ours, theirs in zip(*found, strict=True):
            assert (ours is None) == (theirs is None)
            if theirs is not None:
                size = 1 + float(theirs.detach().abs().nan_to_num(0.0).max())
                torch.testing.assert_close(ours, theirs, rtol=0, atol=rtol * size, equal_nan=True)
    report = fast.report()
    assert report.status == "emitted", report.reason
    assert report.gradient_check is not None
    assert any(loop.backward for loop in report.loops)
    return fast


def normal(*shape: int, dtype: torch.dtype = torch.float64) -> Callable[[], tuple[Tensor, ...]]:
    return lambda: (torch.randn(*shape, dtype=dtype),)


class Called(nn.Module):
    """A module that calls something else than the forward method of another one."""

    def __init__(self, inner: nn.Module, call: Callable[..., Any]) -> None:
        super().__init__()
        self.inner, self.call = inner, call

    def forward(self, *inputs: Any) -> Any:
        return self.call(self.inner, *inputs)


@pytest.mark.parametrize("flow", ["MAF", "NSF"])
def test_zuko(flow: str) -> None:
    made = getattr(library("zuko").flows, flow)
    inverse = lambda inner, z: inner().transform.inv(z)  # noqa: E731
    check_training(lambda: Called(made(6, 0, transforms=2, hidden_features=(16, 16)), inverse).double(), normal(4, 6))


def test_nflows_splines_read_masks_in_their_backward_pass() -> None:
    splines = library("nflows.transforms.autoregressive").MaskedPiecewiseRationalQuadraticAutoregressiveTransform
    flow = lambda: splines(6, 16, tails="linear", tail_bound=3.0)  # noqa: E731
    check_training(lambda: Called(flow(), lambda inner, x: inner.inverse(x)).double(), normal(4, 6))


class Spiking(nn.Module):
    def __init__(self, snn: Any, surrogate: Any) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(10, 16), snn.Leaky(beta=0.9, spike_grad=surrogate, learn_beta=True)
        self.fc2, self.lif2 = nn.Linear(16, 4), snn.Leaky(beta=0.8, spike_grad=surrogate)

    def forward(self, x: Tensor) -> Tensor:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        membranes = []
        for step in x:
            spk1, mem1 = self.lif1(self.fc1(step), mem1)
            _, mem2 = self.lif2(self.fc2(spk1), mem2)
            membranes.append(mem2)
        return torch.stack(membranes)


@pytest.mark.parametrize("name", ["atan", "fast_sigmoid", "sigmoid"])
def test_snntorch_keeps_membranes_with_their_graph(name: str) -> None:
    snn, surrogate = library("snntorch"), getattr(library("snntorch.surrogate"), name)()
    check_training(lambda: Spiking(snn, surrogate), normal(15, 3, 10, dtype=torch.float32), 1e-5)


@pytest.mark.parametrize("cell", ["LTC", "CfC"])
def test_ncps(cell: str) -> None:
    made = getattr(library("ncps.torch"), cell)
    wiring = library("ncps.wirings").AutoNCP(8, 2)
    check_training(lambda: made(3, wiring).double(), normal(2, 9, 3))


@pytest.mark.parametrize("method", ["euler", "rk4"])
def test_torchdiffeq(method: str) -> None:
    odeint, times = library("torchdiffeq").odeint, torch.linspace(0, 1, 12, dtype=torch.float64)
    field = lambda: nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4))  # noqa: E731
    solve = lambda inner, y: odeint(lambda t, y: inner(y) * torch.cos(t), y, times, method=method)  # noqa: E731
    check_training(lambda: Called(field(), solve).double(), normal(3, 4))


def test_torchcrf() -> None:
    crf, tags = library("torchcrf").CRF, torch.randint(0, 5, (12, 3))
    check_training(lambda: Called(crf(5), lambda inner, scores: inner(scores, tags)).double(), normal(12, 3, 5))


def test_transformers_mamba() -> None:
    mamba = library("transformers.models.mamba")
    config = mamba.MambaConfig(vocab_size=20, hidden_size=16, num_hidden_layers=2, state_size=4, use_cache=False)
    hidden = lambda inner, ids: inner(ids).last_hidden_state  # noqa: E731
    check_training(
        lambda: Called(mamba.MambaModel(config), hidden).double(), lambda: (torch.randint(0, 20, (2, 10)),), 1e-9
    )


def test_packed_sequences() -> None:
    rnn = torch.nn.utils.rnn

    def run(inner: nn.Module, x: Tensor) -> Any:
        packed = rnn.pack_padded_sequence(x, torch.tensor([12, 7]), batch_first=True)
        result, last = inner(packed)
        return rnn.pad_packed_sequence(result, batch_first=True)[0], last

    check_training(lambda: Called(nn.GRU(3, 5, batch_first=True), run).double(), normal(2, 12, 3))
