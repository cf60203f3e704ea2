"""What is in places that a program rebinds is known by its form: other tensors there make no other call."""

from collections.abc import Hashable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fxsolve.runtime.guard_keys import Reader
from fxsolve.stages import capture

X, Y, BUFFER = torch.zeros(2), torch.ones(2), torch.full((2,), 3.0)


class Keeper(nn.Module):
    """Rebinds two attributes, and has a buffer."""

    buffer: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("buffer", BUFFER, persistent=False)
        self.first: Any = torch.zeros(2)
        self.second: Any = torch.zeros(2)

    def forward(self, x: Tensor) -> Tensor:
        self.first, self.second = self.second + x, self.first + self.buffer
        return self.first * 2


def looked_at(first: Any, second: Any = None) -> tuple[Hashable, tuple[Tensor, ...]]:
    """What a reader sees of a program that keeps these values in places that it rebinds."""
    model = Keeper()
    with torch.no_grad():
        reader = Reader(model)
        reader.learn(capture(model, X).stores)
        model.first, model.second = first, second
        state = reader.read((X,), {}).state
    return state.tokens, state.tensors


def test_tensors_are_left_open_and_listed_in_order() -> None:
    tokens, tensors = looked_at([Y, (X,)], {"a": Y})
    assert [id(one) for one in tensors] == [id(one) for one in (Y, X, Y)]
    assert looked_at([X, (Y,)], {"a": X})[0] == tokens


def test_a_tensor_that_another_place_holds_is_told_apart() -> None:
    tokens, tensors = looked_at(BUFFER, X)
    assert [id(one) for one in tensors] == [id(X)]
    assert looked_at(BUFFER, Y)[0] == tokens
    assert looked_at(X, X)[0] != tokens


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (X, None),
        (X, [X]),
        ([X], (X,)),
        ([X], [X, X]),
        ({"a": X}, {"b": X}),
        ([X, 1], [X, 2]),
        (1, 2),
        (True, 1),
        (None, 0),
    ],
    ids=repr,
)
def test_values_of_another_form_have_another_token(one: Any, other: Any) -> None:
    assert looked_at(one)[0] != looked_at(other)[0]


def test_one_list_in_two_places_is_not_two_equal_ones() -> None:
    shared = [X]
    assert looked_at(shared, shared)[0] != looked_at([X], [X])[0]
    assert looked_at([X], [X])[0] == looked_at([Y], [Y])[0]


class Stateful(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.state: Tensor | None = torch.zeros(3)
        self.calls, self.gain = 0, 1.0

    def forward(self, x: Tensor) -> Tensor:
        assert self.state is not None
        self.calls += 1
        self.state = torch.tanh(self.state * self.gain + x)
        return self.state * 2


@torch.no_grad()
def test_a_reader_learns_from_a_recording_what_to_leave_open() -> None:
    model, x = Stateful(), torch.ones(3)
    reader = Reader(model)
    before = reader.read((x,), {}).key
    assert reader.read((x,), {}).key == before
    assert reader.learn(capture(model, x).stores)
    known = reader.read((x,), {})
    assert known.key != before
    assert [id(one) for one in known.state.tensors] == [id(model.state)]
    for _ in range(2):
        model(x)
        assert reader.read((x,), {}).key == known.key


@torch.no_grad()
def test_the_form_of_what_is_left_open_still_counts() -> None:
    model, x = Stateful(), torch.ones(3)
    reader = Reader(model)
    reader.learn(capture(model, x).stores)
    known = reader.read((x,), {}).key
    model.gain = 2.0
    assert reader.read((x,), {}).key != known
    model.gain = 1.0
    assert reader.read((x,), {}).key == known
    for state in (None, torch.zeros(4), torch.zeros(3, dtype=torch.float64), x):
        model.state = state
        assert reader.read((x,), {}).key != known


@torch.no_grad()
def test_what_was_learnt_once_is_not_new_again() -> None:
    model, x = Stateful(), torch.ones(3)
    reader, stores = Reader(model), capture(model, x).stores
    assert reader.learn(stores)
    assert not reader.learn(stores)
