"""A recipe makes again what a run left in a place: tensors by number, everything else as it is."""

from collections import OrderedDict, deque
from typing import Any, NamedTuple

import pytest
import torch

from fxsolve.capture.record.recipes import RecipeWriter
from fxsolve.errors import SideEffectError
from fxsolve.state.held import Slot
from fxsolve.state.places import MISSING, Place
from fxsolve.state.reach import find_reach
from fxsolve.state.snapshot import Snapshot, take_snapshot
from fxsolve.state.stores import Constant, Filled, Stored

A, B = torch.zeros(2), torch.ones(2)


class Pair(NamedTuple):
    left: Any
    right: Any


class Keeper:
    """A program that keeps something; before the run it was an empty list."""

    def __init__(self) -> None:
        self.kept: Any = []

    def __call__(self) -> None:
        """Nothing."""


def writer(before: Any = ()) -> tuple[RecipeWriter, Slot, Snapshot]:
    keeper = Keeper()
    keeper.kept = before
    snapshot = take_snapshot(find_reach(keeper))
    slot = next(one for one in snapshot.slots if one.place.key == "kept")
    return RecipeWriter(snapshot, (A,), {}), slot, snapshot


def made(value: Any) -> Any:
    """What the recipe of `value` makes of the tensors that its writer numbered."""
    recipes, slot, _ = writer()
    recipe = recipes.recipe(value, slot)
    return _make(recipe, recipes.tensors)


def _make(recipe: Any, tensors: list[Any]) -> Any:
    match recipe:
        case Stored(number):
            return tensors[number]
        case Constant(value):
            return value
        case Filled(items, make, _):
            return make([_make(item, tensors) for item in items])
    raise AssertionError(recipe)


@pytest.mark.parametrize("kind", [list, tuple, deque], ids=lambda kind: kind.__name__)
def test_containers_are_made_anew_of_the_same_items(kind: type) -> None:
    found = made(kind([A, 2, None, [B]]))
    assert type(found) is kind
    assert (found[0] is A, found[1], found[2], found[3][0] is B) == (True, 2, None, True)


def test_keys_names_and_limits_are_kept() -> None:
    assert list(made(OrderedDict(b=1, a=2)).items()) == [("b", 1), ("a", 2)]
    assert made({"x": A})["x"] is A
    assert made(Pair(1, A)).left == 1
    assert isinstance(made(Pair(1, A)), Pair)
    assert made(deque([1], maxlen=3)).maxlen == 3
    assert made({1, 2}) == {1, 2}


def test_a_tensor_has_one_number_and_a_returned_one_its_own() -> None:
    recipes, slot, _ = writer()
    assert recipes.recipe(A, slot) == Stored(0)
    assert recipes.recipe(B, slot) == recipes.recipe(B, slot) == Stored(1)
    assert [id(tensor) for tensor in recipes.tensors] == [id(A), id(B)]
    assert recipes.stored == {0, 1}


def test_one_container_in_two_places_is_one_recipe_and_one_that_was_there_is_filled_again() -> None:
    before = [3]
    recipes, slot, _ = writer(before)
    shared = [1]
    first, second = recipes.recipe((shared, shared), slot).items  # pyright: ignore[reportAttributeAccessIssue]
    assert first is second
    assert first.into is None
    before[:] = [4]
    again = recipes.recipe(before, slot)
    assert isinstance(again, Filled)
    assert again.into is not None
    assert again.into.value() is before


@pytest.mark.parametrize(
    ("before", "now", "reason"),
    [
        ([], object(), "which outlives the call; return it instead"),
        ([], {A}, "which outlives the call; return it instead"),
        ([1], lambda held: held.append(2), "gets longer or shorter each time"),
        ([1, 2], lambda held: held.pop(), "gets longer or shorter each time"),
    ],
)
def test_what_cannot_be_made_again_is_refused(before: list[int], now: Any, reason: str) -> None:
    recipes, slot, _ = writer(before)
    if callable(now):
        now(before)
        now = before
    with pytest.raises(SideEffectError, match=reason):
        recipes.recipe(now, slot)


def test_what_is_there_no_more_is_missing() -> None:
    recipes, _, _ = writer()
    gone = Slot(Place("x", {}, "x"), 1)
    assert recipes.write(gone) == Constant(MISSING)
