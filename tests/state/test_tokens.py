"""Tokens are equal where a recording may be used again, and only there."""

import gc
import weakref
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from fxsolve.state.tokens import HashedState, callable_token, identity_of, is_settings, may_change, token_of


class Color(Enum):
    RED = 1
    BLUE = 2


@dataclass(eq=False)
class Settings:
    steps: int = 3
    inner: Any = None


class Slotted:
    __slots__ = ()


def name_of(value: Any) -> str:
    """Without an address: tests that run side by side must have the same names."""
    return getattr(value, "__name__", None) or repr(value).partition(" object at ")[0]


NAN = float("nan")

EQUAL = [
    (3, 3),
    (2.5, 2.5),
    (NAN, float("nan")),
    ("word", "word"),
    (None, None),
    (torch.float32, torch.float32),
    (slice(1, None, 2), slice(1, None, 2)),
    (Color.RED, Color.RED),
    ([1, [2.0, "a"]], [1, [2.0, "a"]]),
    ({"a": (1, 2)}, {"a": (1, 2)}),
    ({1, 2, 3}, {3, 2, 1}),
]

DIFFERENT = [
    (1, True),
    (1, 1.0),
    (0.0, -0.0),
    (complex(0.0, 0.0), complex(0.0, -0.0)),
    (None, 0),
    ("1", 1),
    (b"a", "a"),
    (slice(1, 2), slice(1, 2, 1)),
    (Color.RED, Color.BLUE),
    (Color.RED, 1),
    ([1, 2], (1, 2)),
    ([1, 2], [2, 1]),
    ([1, 2], [1, 2, 2]),
    ({"a": 1}, {"a": 2}),
    ({"a": 1}, {"b": 1}),
    ([[1]], [[1.0]]),
    (torch.float32, torch.float64),
]


@pytest.mark.parametrize(("one", "other"), EQUAL, ids=repr)
def test_equal_values_have_equal_tokens(one: Any, other: Any) -> None:
    assert token_of(one) == token_of(other)
    assert hash(token_of(one)) == hash(token_of(other))


@pytest.mark.parametrize(("one", "other"), DIFFERENT, ids=repr)
def test_values_that_a_program_can_tell_apart_have_other_tokens(one: Any, other: Any) -> None:
    assert token_of(one) != token_of(other)
    assert token_of([one]) != token_of([other])


def test_a_tensor_is_known_by_the_object_and_its_form_and_not_by_its_values() -> None:
    x = torch.zeros(3)
    before = token_of(x)
    x.add_(1)
    assert token_of(x) == before
    assert token_of(x.clone()) != before
    x.data = torch.zeros(4)
    assert token_of(x) != before
    x.data = torch.zeros(3, dtype=torch.float64)
    assert token_of(x) != before


def test_an_object_that_is_gone_equals_no_other() -> None:
    held = Settings()
    one, other = identity_of(held), identity_of(held)
    assert one == other
    del held
    gc.collect()
    assert one != other
    assert one == one
    assert all(identity_of(Settings()) != one for _ in range(100))


def test_a_token_does_not_keep_its_object_alive() -> None:
    module = nn.Linear(1, 1)
    reference = weakref.ref(module.weight)
    kept = token_of([module, module.weight])
    assert reference() is not None
    del module
    gc.collect()
    assert reference() is None
    assert kept


def test_objects_without_weak_references_are_known_by_value_or_by_identity() -> None:
    assert identity_of((1, 2)) == identity_of((1, 2)) != identity_of((1, 3))
    one = Slotted()
    assert identity_of(one) == identity_of(one)
    first, second = [1], [1]
    assert identity_of(first) == identity_of(first) != identity_of(second)


def test_settings_are_one_object_with_the_same_plain_attributes() -> None:
    settings = Settings()
    before = token_of(settings)
    settings.inner = object()
    assert token_of(settings) != before  # None is plain, and is no longer there
    before = token_of(settings)
    settings.inner = object()
    assert token_of(settings) == before
    settings.steps = 4
    assert token_of(settings) != before
    assert token_of(Settings(4, settings.inner)) != token_of(settings)


def test_what_is_in_a_live_place_of_settings_is_not_part_of_their_token() -> None:
    settings = Settings()
    live = frozenset({(id(vars(settings)), "steps")})
    before = token_of(settings, live=live)
    settings.steps = 7
    assert token_of(settings, live=live) == before
    assert token_of(settings, live=frozenset()) != before


def made(scale: float, default: float = 1.0) -> Any:
    def function(x: float, factor: float = default) -> float:
        return x * scale * factor

    return function


def test_functions_made_by_one_line_are_one_callable_unless_their_defaults_differ() -> None:
    assert callable_token(made(1.0)) == callable_token(made(2.0))
    assert callable_token(made(1.0)) != callable_token(made(1.0, 3.0))
    assert callable_token(made) != callable_token(made(1.0))


def test_methods_are_one_callable_where_they_are_of_one_object() -> None:
    one, other = nn.Linear(1, 1), nn.Linear(1, 1)
    assert callable_token(one.forward) == callable_token(one.forward)
    assert callable_token(one.forward) != callable_token(other.forward)
    assert callable_token(one.forward) != callable_token(one.extra_repr)


def test_partials_are_one_callable_where_function_and_arguments_are() -> None:
    assert callable_token(partial(made, 1.0, default=2.0)) == callable_token(partial(made, 1.0, default=2.0))
    assert callable_token(partial(made, 1.0)) != callable_token(partial(made, 2.0))
    assert callable_token(partial(made, default=1.0)) != callable_token(partial(made, default=2.0))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, False),
        ("a", False),
        ((1, (2, 3)), False),
        (frozenset({1}), False),
        ((1, [2]), True),
        ([], True),
        ({}, True),
        (torch.zeros(1), True),
        (Settings(), True),
        (made, False),
    ],
    ids=name_of,
)
def test_what_may_have_another_token_later_is_told(value: Any, expected: bool) -> None:
    assert may_change(value) is expected


@pytest.mark.parametrize("value", [made, Settings, torch, torch.zeros(1), nn.Linear(1, 1), 3, [1]], ids=name_of)
def test_settings_are_objects_that_only_hold_attributes(value: Any) -> None:
    assert is_settings(Settings())
    assert not is_settings(value)


class Counted:
    hashed = 0

    def __hash__(self) -> int:
        Counted.hashed += 1
        return 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Counted)


def test_a_state_is_hashed_once_and_equal_by_its_parts() -> None:
    state, before = HashedState((Counted(), 2)), Counted.hashed
    assert {state: 1}[HashedState((Counted(), 2))] == 1
    assert hash(state) == hash(state)
    assert Counted.hashed == before + 1  # by the second state, when it was made
    assert state != HashedState((Counted(), 3))
    assert state != (Counted(), 2)
