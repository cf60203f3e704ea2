"""A snapshot tells what a run has changed in places that outlive it, and puts all of it back."""

import random
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fxsolve.state.random_state import read_random_state
from fxsolve.state.reach import find_reach
from fxsolve.state.snapshot import take_snapshot


class Holder:
    def __init__(self) -> None:
        self.number, self.cache = 1, object()


class Model(nn.Module):
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.register_buffer("count", torch.zeros(1))
        self.flag, self.sizes, self.holder = True, [1, [2, torch.zeros(2)]], Holder()
        self.recent = deque([1, 2], maxlen=2)
        self.sizes.append(self.sizes)  # a list in itself


CHANGES: dict[str, tuple[Callable[[Model], Any], str]] = {
    "a value": (lambda m: setattr(m, "flag", False), "Model.flag"),
    "another type": (lambda m: setattr(m, "flag", 1), "Model.flag"),
    "an equal tensor": (lambda m: m.sizes[1].__setitem__(1, torch.zeros(2)), "Model.sizes"),
    "a nested list": (lambda m: m.sizes[1].pop(), "Model.sizes"),
    "pushed out": (lambda m: m.recent.append(3), "Model.recent"),
    "a new attribute": (lambda m: setattr(m, "more", 1), "Model.more"),
    "a deleted one": (lambda m: delattr(m, "flag"), "Model.flag"),
    "of an object": (lambda m: setattr(m.holder, "number", 2), "Holder holder.number"),
    "new on an object": (lambda m: setattr(m.holder, "other", [1]), "Holder holder.other"),
    "a buffer": (lambda m: setattr(m, "count", torch.ones(1)), "Model.count"),
    "a parameter": (lambda m: setattr(m.linear, "bias", None), "Linear linear._parameters"),
    "a gradient": (lambda m: setattr(m.linear.weight, "grad", torch.ones(2, 2)), "Linear linear.weight.grad"),
    "the mode": (lambda m: m.eval(), "Model.training"),
}


def held(model: Model) -> list[Any]:
    """Everything, by identity."""
    items = [vars(model), vars(model.holder), vars(model.linear), model._buffers, model.linear._parameters]
    flat = [(key, id(value)) for part in items for key, value in part.items()]
    return [*flat, [*map(id, model.sizes)], [*map(id, model.sizes[1])], [*model.recent], model.linear.weight.grad]


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_seen_by_its_place_and_put_back(name: str) -> None:
    change, label = CHANGES[name]
    model = Model()
    before, snapshot = held(model), take_snapshot(find_reach(model))
    assert snapshot.changed() == ()
    change(model)
    assert label in {slot.place.label for slot in snapshot.changed()}
    snapshot.restore()
    assert snapshot.changed() == ()
    assert held(model) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda m: setattr(m, "flag", bool(1)),
        lambda m: setattr(m, "sizes", m.sizes),
        lambda m: m.count.add_(1),  # what tensors hold is seen elsewhere
        lambda m: setattr(m.holder, "cache", object()),  # objects may have caches
        lambda m: m.recent.extend([1, 2]),
    ],
)
def test_what_is_equal_or_a_cache_is_no_change(change: Callable[[Model], Any]) -> None:
    model = Model()
    snapshot = take_snapshot(find_reach(model))
    change(model)
    assert snapshot.changed() == ()


def test_places_outside_of_modules_are_closures_and_globals() -> None:
    kept, total = [1], 0

    def program() -> None:
        nonlocal total
        kept.append(2)
        total += 1

    snapshot = take_snapshot(find_reach(program))
    program()
    assert {slot.place.label for slot in snapshot.changed()} == {"kept", "total"}
    snapshot.restore()
    assert (kept, total) == ([1], 0)


DRAWS: list[Callable[[], Any]] = [lambda: torch.rand(()).item(), random.random, lambda: float(np.random.rand())]


def test_every_default_generator_is_put_back() -> None:
    state = read_random_state()
    first = [draw() for draw in DRAWS]
    state.restore()
    assert [draw() for draw in DRAWS] == first


@pytest.mark.parametrize(
    ("draw", "unchanged"), [*zip(DRAWS, [(True, False), (False, True), (False, True)], strict=True)]
)
def test_whose_numbers_were_drawn_is_told(draw: Callable[[], Any], unchanged: tuple[bool, bool]) -> None:
    state = read_random_state()
    assert (state.is_python_unchanged(), state.is_torch_unchanged()) == (True, True)
    draw()
    assert (state.is_python_unchanged(), state.is_torch_unchanged()) == unchanged
