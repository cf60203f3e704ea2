"""Attributes that a program sets before it looks at them: what is in them does not tell calls apart."""

import copy
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import utils
from torch.nn.utils import prune

import fxsolve
from fxsolve.runtime.compiled import Compiled
from tests.turns import in_turn

B, N, T = 3, 6, 12


def compiled(program: Any, schedule: str = "gs", **options: Any) -> Compiled:
    return fxsolve.compile(program, schedule=schedule, backend="eager", **options)


class _Scaled:
    """A hook that makes a weight anew at each call, of a parameter that it keeps by another name."""

    def __init__(self, before: str) -> None:
        self.before = before

    def apply(self, layer: Any) -> nn.Module:
        weight = layer.weight
        del layer._parameters["weight"]
        layer.register_parameter("kept", nn.Parameter(weight.detach()))
        if self.before == "none":
            layer.weight = None
        elif self.before == "data":
            layer.weight = weight.detach()
        layer.register_forward_pre_hook(self)
        return layer

    def __call__(self, layer: Any, inputs: Any) -> None:
        layer.weight = layer.kept * 0.7


def pruned(layer: nn.Module) -> nn.Module:
    return prune.l1_unstructured(layer, "weight", amount=0.3)


def missing(layer: nn.Module) -> nn.Module:
    return _Scaled("missing").apply(layer)


def none(layer: nn.Module) -> nn.Module:
    return _Scaled("none").apply(layer)


def data(layer: nn.Module) -> nn.Module:
    return _Scaled("data").apply(layer)


HOOKS = [utils.weight_norm, utils.spectral_norm, pruned, missing, none, data]


class Looping(nn.Module):
    def __init__(self, norm: Callable[[nn.Module], nn.Module]) -> None:
        super().__init__()
        self.net = nn.Sequential(norm(nn.Linear(N, N)), nn.SiLU(), norm(nn.Linear(N, N)))

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(T):
            x = x + 0.05 * self.net(x)
        return x


def twins(make: Callable[[], Any]) -> tuple[Any, Any]:
    """Two equal programs."""
    return tuple(make() for _ in range(2) if torch.manual_seed(0))  # pyright: ignore


@pytest.mark.filterwarnings("ignore:`?torch.nn.utils.weight_norm", "ignore:.*weight_norm. is deprecated")
@pytest.mark.parametrize(
    ("norm", "schedule", "grad", "trained"), in_turn(HOOKS, ["gs", "jacobi"], [False, True], [True, False], times=3)
)
def test_weights_that_a_hook_makes_anew_cost_one_recording(norm: Any, schedule: str, grad: bool, trained: bool) -> None:
    model, own = twins(lambda: Looping(norm).double())
    for one in (model, own):
        if trained:
            one(torch.ones(B, N, dtype=torch.float64)).sum().backward()
            one.zero_grad()
        one.eval()
    fast = compiled(model, schedule)
    with torch.set_grad_enabled(grad):
        for _ in range(4):
            x = torch.randn(B, N, dtype=torch.float64)
            ours, theirs = fast(x), own(x)
            torch.testing.assert_close(ours, theirs, rtol=0 if schedule == "gs" else 1e-9, atol=0)
            if grad:
                found = torch.autograd.grad(ours.sum(), list(model.parameters()))
                torch.testing.assert_close(found, torch.autograd.grad(theirs.sum(), list(own.parameters())))
            for ours, theirs in zip(model.net[::2], own.net[::2], strict=True):
                torch.testing.assert_close(ours.weight, theirs.weight, rtol=0, atol=0)
                assert ours.weight.requires_grad is theirs.weight.requires_grad
    assert fast.report().status == "emitted"
    assert len(fast.entries) == 1


class Cell(nn.Module):
    """h = tanh(mix(h) + x[t]), and a tensor that `keep` leaves behind."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(N, N)
        self.kept: Any = None

    def forward(self, x: Tensor) -> Tensor:
        h = self.start(x)
        for row in x:
            h = torch.tanh(self.mix(h) + row)
        self.keep(h)
        return h

    def start(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x[0])

    def keep(self, h: Tensor) -> None:
        self.kept = h.detach()


def same(one: Any, other: Any) -> bool:
    """Whether two cells keep the same values."""
    return torch.equal(one.kept, other.kept)


class Shown(Cell):
    pass


class ShownAndRead(Cell):
    def keep(self, h: Tensor) -> None:
        self.kept = h * 2
        self.total = self.kept.sum()


class Made(Cell):
    """The attribute is not there at first."""

    def __init__(self) -> None:
        super().__init__()
        del self.kept


@pytest.mark.parametrize("make", [Shown, ShownAndRead, Made])
def test_what_is_only_left_behind_costs_one_recording(make: Any) -> None:
    model, own = twins(make)
    fast = compiled(model)
    with torch.no_grad():
        for k in range(4):
            x = torch.randn(T, B, N)
            if k == 3:
                model.kept = own.kept = "something else"
            assert torch.equal(fast(x), own(x))
            assert same(model, own)
    assert fast.report().status == "emitted"
    assert len(fast.entries) == 1


class OnlyOnce(Cell):
    def keep(self, h: Tensor) -> None:
        if self.kept is None:
            self.kept = h


class ByShape(Cell):
    def keep(self, h: Tensor) -> None:
        if self.kept is None or self.kept.shape != h.shape:
            self.kept = h


class ByName(Made):
    def keep(self, h: Tensor) -> None:
        if not hasattr(self, "kept"):
            self.kept = h


class ByDefault(Made):
    def keep(self, h: Tensor) -> None:
        self.kept = h if getattr(self, "kept", None) is None else h * 2


class ByError(Made):
    def keep(self, h: Tensor) -> None:
        try:
            self.kept  # noqa: B018
        except AttributeError:
            self.kept = h


class ByDeleting(Made):
    def keep(self, h: Tensor) -> None:
        try:
            del self.kept
        except AttributeError:
            h = h * 2
        self.kept = h


class ByDict(Cell):
    def keep(self, h: Tensor) -> None:
        self.kept = h if self.__dict__["kept"] is None else h * 2


class ByVars(Cell):
    def keep(self, h: Tensor) -> None:
        self.kept = h if vars(self).get("kept") is None else h * 2


class ByCopy(Cell):
    def keep(self, h: Tensor) -> None:
        self.kept = h if copy.copy(self).kept is None else h * 2


class OfClass(Made):
    kept = 0.5

    def keep(self, h: Tensor) -> None:
        self.kept = h if isinstance(self.kept, float) else h * 2


class ByType(Cell):
    def keep(self, h: Tensor) -> None:
        self.kept = h if type(self.kept) is type(None) else h * 2


class ByThread(Cell):
    def keep(self, h: Tensor) -> None:
        seen: list[Any] = []
        thread = threading.Thread(target=lambda: seen.append(self.kept))
        thread.start()
        thread.join()
        self.kept = h if seen[0] is None else h * 2


class ByHelper(Cell):
    def keep(self, h: Tensor) -> None:
        self.kept = doubled_if_known(self, h)


def doubled_if_known(owner: Any, h: Tensor) -> Tensor:
    return h if owner.kept is None else h * 2


class Carried(Cell):
    def start(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x[0]) if self.kept is None else self.kept


@pytest.mark.parametrize(
    "make",
    [
        OnlyOnce, ByShape, ByName, ByDefault, ByError, ByDeleting, ByDict, ByVars, ByCopy, OfClass, ByType, ByThread,
        ByHelper, Carried,
    ],
)  # fmt: skip
def test_what_a_program_looks_at_before_it_sets_it_tells_calls_apart(make: Any) -> None:
    model, own = twins(make)
    fast = compiled(model)
    with torch.no_grad():
        for k in range(6):
            x = torch.randn(T, B if k < 4 else B + 1, N)
            if make is Carried and k == 4:
                model.kept = own.kept = None
            assert torch.equal(fast(x), own(x)), k
            assert same(model, own), k


class Sometimes(Cell):
    """Reads what it kept in evaluation only."""

    def start(self, x: Tensor) -> Tensor:
        if self.training:
            return torch.zeros_like(x[0])
        return torch.zeros_like(x[0]) if self.kept is None else self.kept * 0.5


class OfLength(Sometimes):
    def start(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x[0]) if len(x) == T else self.kept + 1


class ByValue(Sometimes):
    def start(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x[0]) if x.sum() > 0 or self.kept is None else torch.ones_like(x[0])


@pytest.mark.parametrize("make", [Sometimes, OfLength, ByValue])
def test_another_kind_of_call_may_look_at_it(make: Any) -> None:
    model, own = twins(make)
    fast = compiled(model)
    with torch.no_grad():
        for k in range(16):
            length, sign = T + 2 * (make is OfLength and k % 4 >= 2), 1 - 2 * (make is ByValue and k % 4 >= 2)
            for program in (model, own):
                program.train(k % 4 < 2)
                if k == 9:
                    program.kept = None if make is not OfLength else torch.ones(B, N)
            x = torch.rand(length, B, N) * sign
            assert torch.equal(fast(x), own(x)), k
            assert same(model, own), k
    assert fast.report().status == "emitted"


def test_generators_and_state_are_untouched_by_the_run_that_is_watched() -> None:
    class Noisy(Cell):
        mean: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.zeros(N))
            self.calls = 0

        def start(self, x: Tensor) -> Tensor:
            self.calls += 1
            self.mean.lerp_(x.mean((0, 1)), 0.1)
            return torch.randn_like(x[0])

    model, own = twins(Noisy)
    fast = compiled(model)
    with torch.no_grad():
        for _ in range(3):
            x, found = torch.randn(T, B, N), []
            for program in (fast, own):
                torch.manual_seed(1)
                found.append((program(x), torch.rand(1)))
            assert all(map(torch.equal, *found))
            assert torch.equal(model.mean, own.mean)
            assert model.calls == own.calls
    assert fast.report().status == "emitted"
    assert len(fast.entries) == 1
