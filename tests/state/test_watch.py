"""A program is in the same state at two calls where nothing that is watched has changed, and only there."""

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from fxsolve.state.live import LiveSet
from fxsolve.state.watch import Watch

GLOBAL = {"scale": 1.0}


class Helper:
    def __init__(self) -> None:
        self.steps = 3
        self.table = torch.zeros(2)


class Model(nn.Module):
    shift: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.layers = nn.ModuleList([nn.ReLU(), nn.Tanh()])
        self.register_buffer("shift", torch.zeros(2))
        self.gain, self.name, self.mask = 1.0, "model", None
        self.sizes, self.options, self.recent = [1, 2], {"bias": True}, deque([1], maxlen=4)
        self.helper, self.kept = Helper(), [torch.zeros(2)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) * self.gain + self.shift


class Other(Model):
    pass


def watch(program: Callable[..., Any]) -> Watch:
    return Watch(program, LiveSet())


CHANGES: dict[str, Callable[[Model], Any]] = {
    "a number": lambda m: setattr(m, "gain", 2.0),
    "the type of a number": lambda m: setattr(m, "gain", 1),
    "a string": lambda m: setattr(m, "name", "other"),
    "none": lambda m: setattr(m, "mask", False),
    "the train flag": lambda m: m.eval(),
    "the train flag of a child": lambda m: m.linear.eval(),
    "an item of a list": lambda m: m.sizes.__setitem__(0, 7),
    "the length of a list": lambda m: m.sizes.append(3),
    "a value of a dict": lambda m: m.options.update(bias=False),
    "a key of a dict": lambda m: m.options.update(more=True),
    "an item of a deque": lambda m: m.recent.append(2),
    "an attribute of an object": lambda m: setattr(m.helper, "steps", 4),
    "a tensor of an object": lambda m: setattr(m.helper, "table", torch.zeros(2)),
    "the object": lambda m: setattr(m, "helper", Helper()),
    "a tensor in a list": lambda m: m.kept.__setitem__(0, torch.zeros(2)),
    "a new attribute": lambda m: setattr(m, "more", 1),
    "no attribute": lambda m: delattr(m, "name"),
    "another attribute by name": lambda m: (delattr(m, "name"), setattr(m, "names", "model")),
    "a parameter": lambda m: setattr(m.linear, "weight", nn.Parameter(m.linear.weight.detach().clone())),
    "no parameter": lambda m: setattr(m.linear, "bias", None),
    "a buffer": lambda m: setattr(m, "shift", torch.zeros(2)),
    "the dtype of parameters": lambda m: m.double(),
    "the shape of a parameter": lambda m: setattr(m.linear.weight, "data", torch.zeros(3, 2)),
    "a child": lambda m: setattr(m, "linear", nn.Linear(2, 2)),
    "an activation": lambda m: m.layers.__setitem__(0, nn.GELU()),
    "one more child": lambda m: m.layers.append(nn.ReLU()),
    "the class": lambda m: setattr(m, "__class__", Other),
    "a hook": lambda m: m.register_forward_hook(lambda *_: None),
    "a hook of a child": lambda m: m.linear.register_forward_pre_hook(lambda *_: None),
    "a forward of its own": lambda m: setattr(m, "forward", lambda x: x),
}

NO_CHANGES: dict[str, Callable[[Model], Any]] = {
    "nothing": lambda m: None,
    "values of parameters": lambda m: m.linear.weight.data.add_(1),
    "values of buffers": lambda m: m.shift.add_(1),
    "a state dict": lambda m: m.load_state_dict({name: value + 1 for name, value in m.state_dict().items()}),
    "a gradient": lambda m: setattr(m.linear.weight, "grad", torch.ones(2, 2)),
    "an equal list": lambda m: setattr(m, "sizes", [1, 2]),
    "an equal number": lambda m: setattr(m, "gain", float("1")),
    "a call": lambda m: m(torch.ones(2)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_may_change_the_recording_changes_the_state(change: Callable[[Model], Any]) -> None:
    model = Model()
    watching = watch(model)
    before = watching.state(True)
    assert watching.state(True) == before
    change(model)
    assert watching.state(True) != before


@pytest.mark.parametrize("change", NO_CHANGES.values(), ids=NO_CHANGES)
def test_what_is_read_anew_at_every_call_does_not(change: Callable[[Model], Any]) -> None:
    model = Model()
    watching = watch(model)
    before = watching.state(True)
    change(model)
    assert watching.state(True) == before


def test_wanting_gradients_matters_in_grad_mode_alone() -> None:
    model = Model()
    watching = watch(model)
    with_gradients, without = watching.state(True), watching.state(False)
    model.linear.bias.requires_grad_(False)
    assert watching.state(True) != with_gradients
    assert watching.state(False) == without


def test_a_flag_that_is_flipped_back_gives_the_first_state_again() -> None:
    model = Model()
    watching = watch(model)
    states = []
    for training in (True, False, True, False):
        model.train(training)
        states.append(watching.state(False))
    assert states[0] == states[2]
    assert states[1] == states[3]
    assert states[0] != states[1]


def test_two_models_are_never_in_one_state() -> None:
    assert watch(Model()).state(False) != watch(Model()).state(False)


def test_cells_and_globals_of_a_function_are_watched() -> None:
    factor, weights = 2.0, [1.0]

    def program(x: torch.Tensor) -> torch.Tensor:
        return x * factor * weights[0] * GLOBAL["scale"]

    watching = watch(program)
    before = watching.state(False)
    factor = 3.0
    changed = watching.state(False)
    assert changed != before
    factor = 2.0
    assert watching.state(False) == before
    weights[0] = 5.0
    assert watching.state(False) != before
    weights[0] = 1.0
    try:
        GLOBAL["scale"] = 4.0
        assert watching.state(False) != before
    finally:
        GLOBAL["scale"] = 1.0
    assert watching.state(False) == before


def test_an_unbound_cell_is_noticed() -> None:
    factor = 2.0

    def program(x: torch.Tensor) -> torch.Tensor:
        return x * factor

    def forget() -> None:
        nonlocal factor
        del factor

    watching = watch(program)
    before = watching.state(False)
    forget()
    assert watching.state(False) != before


def _as_double(layer: nn.Linear) -> None:
    layer.weight.data = layer.weight.data.double()


def _as_larger(layer: nn.Linear) -> None:
    layer.weight.data = torch.zeros(5, 5)


def _as_transposed(layer: nn.Linear) -> None:
    layer.weight.data = layer.weight.data.T


def _as_frozen(layer: nn.Linear) -> None:
    layer.weight.requires_grad_(False)


@pytest.mark.parametrize(
    ("change", "is_other", "is_other_without_grad"),
    [(_as_double, True, True), (_as_larger, True, True), (_as_transposed, False, False), (_as_frozen, True, False)],
)
@pytest.mark.parametrize("count", [2, 20])
def test_forms_of_few_and_of_many_parameters(
    count: int, change: Callable[[nn.Linear], None], is_other: bool, is_other_without_grad: bool
) -> None:
    """Many are compared in C++, which sees more than counts."""
    module = nn.Sequential(*(nn.Linear(4, 4) for _ in range(count)))
    watch = Watch(module, LiveSet())
    before = [watch.state(grad) for grad in (True, False)]
    assert [watch.state(grad) for grad in (True, False)] == before
    change(module[-1])
    assert (watch.state(True) != before[0]) == is_other
    assert (watch.state(False) != before[1]) == is_other_without_grad
