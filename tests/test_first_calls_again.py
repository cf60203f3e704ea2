"""First calls that cannot be recorded: where they change the program, a later call is recorded, and otherwise none."""

import copy
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.runtime import entry
from fxsolve.runtime.compiled import Compiled
from tests.thirdparty.checking import library

B, N, LAYERS, T = 16, 6, 5, 12


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """One item for each recording that was begun."""
    begun: list[Any] = []
    real = entry.capture

    def count(*given: Any) -> Any:
        begun.append(given)
        return real(*given)

    monkeypatch.setattr(entry, "capture", count)
    return begun


def compiled(program: Any) -> Compiled:
    return fxsolve.compile(program, schedule="gs", backend="eager")


class Chain(nn.Module):
    """Layers made by `make`, with a residual one behind each."""

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(make() for _ in range(LAYERS))
        self.mixes = nn.ModuleList(nn.Linear(N, N) for _ in range(LAYERS))

    def forward(self, x: Tensor) -> Tensor:
        for layer, mix in zip(self.layers, self.mixes, strict=True):
            found = layer(x)
            x = found[0] if isinstance(found, tuple) else found
            x = x + torch.tanh(mix(x))
        return x


class Scale(nn.Module):
    """Sets its scale to that of the first batch, in a way that no recording can follow."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(N))
        self.register_buffer("seen", torch.tensor(False))

    def forward(self, x: Tensor) -> Tensor:
        if not self.seen:
            with torch.no_grad():
                self.set_up(x.detach())
        return x * self.scale

    def set_up(self, x: Tensor) -> None:
        raise NotImplementedError


class ByNumpy(Scale):
    def set_up(self, x: Tensor) -> None:
        self.scale.numpy()[:] = 1 / x.std(0).numpy()
        self.seen.numpy()[...] = True  # writes that no version counter sees


class ByPythonRandomness(Scale):
    def set_up(self, x: Tensor) -> None:
        rows = np.random.RandomState(0).permutation(len(x))[:4]
        np.random.rand()
        self.scale.copy_(1 / x[torch.from_numpy(rows)].std(0))
        self.seen.fill_(True)


class ByStorage(Scale):
    def set_up(self, x: Tensor) -> None:
        self.scale.copy_(1 / x.std(0))
        self.scale.untyped_storage()
        self.seen.fill_(True)


class NewParameter(nn.Module):
    """Makes its parameter when it sees how wide its input is."""

    def __init__(self) -> None:
        super().__init__()
        self.scale: Any = None

    def forward(self, x: Tensor) -> Tensor:
        if self.scale is None:
            del self.scale
            self.scale = nn.Parameter(1 / x.detach().std(0))
        return x * self.scale


class Becoming(Scale):
    """Is of another class afterwards."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.scale.numpy()[:] = 1 / x.detach().std(0).numpy()
        self.__class__ = Scaled  # pyright: ignore
        return x * self.scale


class Scaled(Scale):
    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


KINDS: list[Callable[[], nn.Module]] = [
    ByNumpy, ByPythonRandomness, ByStorage, NewParameter, Becoming, functools.partial(nn.LazyLinear, N),
    nn.LazyBatchNorm1d,
]  # fmt: skip


def check_settles(make: Callable[[], nn.Module], grad: bool) -> Compiled:
    """The same values at every call; from the third one on, what is emitted."""
    model, own = (Chain(make) for _ in range(2) if torch.manual_seed(0))
    fast = compiled(model)
    with torch.set_grad_enabled(grad):
        for k in range(5):
            x = torch.randn(B, N) * 2 + 1
            results = [program(x) for program in (fast, own) if torch.manual_seed(k)]  # lazy layers draw their weights
            assert torch.equal(*results)
            assert k < 2 or fast.report().status == "emitted", fast.report().reason
    for ours, theirs in zip(model.state_dict().values(), own.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    return fast


@pytest.mark.parametrize("grad", [False, True], ids=["no_grad", "grad"])
@pytest.mark.parametrize("make", KINDS, ids=lambda make: getattr(make, "__name__", "LazyLinear"))
def test_what_is_set_up_at_the_first_call_is_recorded_afterwards(make: Any, grad: bool, recorded: list[Any]) -> None:
    fast = check_settles(make, grad)
    assert len(recorded) <= 3
    assert len(fast.entries) == 1


@pytest.mark.thirdparty
@pytest.mark.parametrize("grad", [False, True], ids=["no_grad", "grad"])
@pytest.mark.parametrize("name", ["nflows.transforms.ActNorm", "normflows.flows.ActNorm"])
def test_activation_norms_of_flow_libraries_are_recorded_once_they_are_set_up(name: str, grad: bool) -> None:
    module, kind = name.rsplit(".", 1)
    norm = getattr(library(module), kind)
    check_settles(functools.partial(norm, N if "nflows" in name else (N,)), grad)


def test_the_report_says_why_the_first_call_was_not_recorded() -> None:
    fast = compiled(Chain(ByStorage))
    with torch.no_grad():
        fast(torch.randn(B, N))
    assert fast.report().status == "left alone"
    assert "untyped_storage" in (fast.report().reason or "")
    assert fast.entries == ()


def loop(x: Tensor, weight: Tensor) -> Tensor:
    h = torch.zeros_like(x[0])
    for row in x:
        h = torch.tanh(h @ weight + row)
    return h


class Kept(nn.Module):
    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(N, N))
        self.register_buffer("mean", torch.zeros(N))
        self.calls, self.log = 0, [torch.zeros(N)]


class Unchanged(Kept):
    def forward(self, x: Tensor) -> Tensor:
        return loop(x, self.weight) * np.random.rand()


class WritesTheSame(Kept):
    def forward(self, x: Tensor) -> Tensor:
        self.mean.zero_()
        return loop(x, self.weight) * np.random.rand()


class Averages(Kept):
    def forward(self, x: Tensor) -> Tensor:
        self.mean.lerp_(x.mean((0, 1)), 0.1)
        return loop(x, self.weight) * np.random.rand()


class Counts(Kept):
    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return loop(x, self.weight) * (1 + self.calls % 2)


class Grows(Kept):
    def forward(self, x: Tensor) -> Tensor:
        self.log.append(x.mean((0, 1)))
        return loop(x, self.weight)


class Renews(Kept):
    def forward(self, x: Tensor) -> Tensor:
        self.weight = nn.Parameter(self.weight.detach() * 0.9)
        return loop(x, self.weight)


@pytest.mark.parametrize(
    ("make", "most", "reason"),
    [
        (Unchanged, 1, "draws random numbers from Python or NumPy"),
        (WritesTheSame, 1, "draws random numbers from Python or NumPy"),
        (Averages, 2, "draws random numbers from Python or NumPy"),
        (Counts, 2, "the attribute calls differs at every call: Counts.calls is read at"),
        (Grows, 2, "the attribute log differs at every call: the program changes Grows.log"),
        (Renews, 2, "the attribute weight differs at every call: the program changes Renews._parameters"),
    ],
)
def test_what_cannot_be_recorded_is_tried_once_more_where_it_changes_the_program(
    make: Any, most: int, reason: str, recorded: list[Any]
) -> None:
    model = make()
    own = copy.deepcopy(model)
    fast = compiled(model)
    with torch.no_grad():
        for k in range(12):
            x = torch.randn(T, B, N)
            np.random.seed(k)
            expected = own(x)
            np.random.seed(k)
            assert torch.equal(fast(x), expected)
            assert fast.report().status == "left alone"
    assert len(recorded) == most
    assert reason in (fast.report().reason or "")


def test_a_program_that_stops_changing_is_recorded_then(recorded: list[Any]) -> None:
    class Warming(Kept):
        def forward(self, x: Tensor) -> Tensor:
            if self.calls < 6:
                self.calls += 1
                self.log.append(x.mean((0, 1)))
            return loop(x, self.weight)

    model = Warming()
    own = copy.deepcopy(model)
    fast = compiled(model)
    with torch.no_grad():
        for _ in range(9):
            x = torch.randn(T, B, N)
            assert torch.equal(fast(x), own(x))
    assert fast.report().status == "emitted"
    assert len(recorded) == 3


def test_a_program_that_cannot_be_recorded_in_training_is_emitted_in_evaluation(recorded: list[Any]) -> None:
    class Counting(Kept):
        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                self.calls += 1
            return loop(x, self.weight) * (1 + self.calls % 2 if self.training else 1)

    model = Counting()
    own = copy.deepcopy(model)
    fast = compiled(model)
    with torch.no_grad():
        for _ in range(4):
            for mode in (True, True, True, False, False, False):
                x = torch.randn(T, B, N)
                fast.train(mode)
                own.train(mode)
                assert torch.equal(fast(x), own(x))
            assert fast.report().status == "emitted"
            own.calls = model.calls = 0
    assert len(recorded) <= 6
