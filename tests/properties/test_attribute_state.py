"""Random programs that rebind, share and write into attributes behave as the original does."""

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import fxsolve

N, T = 3, 4
NAMES = ("a", "b", "c")


class Model(nn.Module):
    """h_t = tanh(h_{t-1} + x_t) from attribute a; then `steps` change the attributes, some of which are returned."""

    def __init__(self, steps: tuple[tuple[str, str, str], ...], returned: tuple[str, ...]) -> None:
        super().__init__()
        self.steps, self.returned = steps, returned
        self.a, self.b, self.c = torch.zeros(N), torch.ones(N), torch.full((N,), 2.0)
        self.held = [self.a, self.b]

    def forward(self, x: Tensor) -> Any:
        h = self.a
        for t in range(T):
            h = torch.tanh(h * 0.5 + x[t])
        for kind, target, source in self.steps:
            _STEPS[kind](self, target, source, h, x)
        return h, [getattr(self, name) for name in self.returned]


def _rebind(model: Model, target: str, source: str, h: Tensor, x: Tensor) -> None:
    setattr(model, target, h)


def _move(model: Model, target: str, source: str, h: Tensor, x: Tensor) -> None:
    setattr(model, target, getattr(model, source))


def _compute(model: Model, target: str, source: str, h: Tensor, x: Tensor) -> None:
    setattr(model, target, getattr(model, source) * 0.5 + h)


def _keep_input(model: Model, target: str, source: str, h: Tensor, x: Tensor) -> None:
    setattr(model, target, x[1])


def _view(model: Model, target: str, source: str, h: Tensor, x: Tensor) -> None:
    setattr(model, target, getattr(model, source).view(N))


def _write(model: Model, target: str, source: str, h: Tensor, x: Tensor) -> None:
    getattr(model, target).mul_(0.5).add_(1)


def _append(model: Model, target: str, source: str, h: Tensor, x: Tensor) -> None:
    model.held[0] = getattr(model, source)


def _fetch(model: Model, target: str, source: str, h: Tensor, x: Tensor) -> None:
    setattr(model, target, model.held[1])


_STEPS: dict[str, Callable[[Model, str, str, Tensor, Tensor], None]] = {
    "rebind": _rebind,
    "move": _move,
    "compute": _compute,
    "keep input": _keep_input,
    "view": _view,
    "write": _write,
    "append": _append,
    "fetch": _fetch,
}


def _outside(model: Model, action: tuple[str, str, str], x: Tensor, result: Any) -> None:
    """What a user may do between two calls."""
    kind, target, source = action
    if kind == "set":
        setattr(model, target, torch.arange(N, dtype=torch.float32))
    elif kind == "share":
        setattr(model, target, getattr(model, source))
    elif kind == "write":
        getattr(model, target).add_(0.25)
    elif kind == "write result":
        result[0].mul_(0.5)
    elif kind == "write input":
        x.mul_(0.5)
    elif kind == "hold":
        model.held[1] = getattr(model, source)


names = st.sampled_from(NAMES)
steps = st.lists(st.tuples(st.sampled_from(sorted(_STEPS)), names, names), min_size=1, max_size=4)
actions = st.lists(
    st.tuples(st.sampled_from(["none", "set", "share", "write", "write result", "write input", "hold"]), names, names),
    min_size=6,
    max_size=6,
)


def test_values_states_and_shared_memory_follow_the_original() -> None:
    ran: list[bool] = []

    @given(steps, st.lists(names, max_size=2), actions)
    @example([("keep input", "c", "c"), ("write", "c", "a")], ["c", "c"], [("none", "a", "a")] * 6)
    @settings(max_examples=40, deadline=None)
    def every_program_is_followed(steps: list[Any], returned: list[str], actions: list[Any]) -> None:
        with torch.no_grad():
            ran.append(check(tuple(steps), tuple(returned), actions))

    every_program_is_followed()
    assert sum(ran) > 0.5 * len(ran)


def check(steps: tuple[Any, ...], returned: tuple[str, ...], actions: list[Any]) -> bool:
    """Compare calls of one program and what a user does between them; returns whether an emitted module ran."""
    model, twin = Model(steps, returned), Model(steps, returned)
    fast = fxsolve.compile(twin, schedule="gs", backend="eager")
    ran = False
    for number, action in enumerate(actions):
        x = torch.linspace(-1, 1, T * N).reshape(T, N) * (number + 1)
        y = x.clone()
        expected, found = model(x), fast(y)
        ran |= bool(fast.report().runs)
        _assert_same((found, _state(twin)), (expected, _state(model)))
        _outside(model, action, x, expected)
        _outside(twin, action, y, found)
        _assert_same((found, _state(twin), y), (expected, _state(model), x))
        assert _identities(twin, found, y) == _identities(model, expected, x)
    return ran


def _state(model: Model) -> list[Tensor]:
    return [model.a, model.b, model.c, *model.held]


def _identities(model: Model, result: Any, x: Tensor) -> list[int]:
    """For each tensor the number of the first one that is the same object."""
    tensors = [*_state(model), result[0], *result[1], x]
    return [next(k for k, other in enumerate(tensors) if other is one) for one in tensors]


def _assert_same(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
