"""What a program adds to a number can be added to another one, and whatever else it does with it is an obstacle."""

import copy
import threading
from collections.abc import Callable
from functools import reduce
from operator import add
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from fxsolve.capture.communication import Line
from fxsolve.capture.effects.accesses import watching
from fxsolve.capture.effects.counters import Counter, Counters, CountsError
from fxsolve.errors import SideEffectError
from fxsolve.state.places import Place
from fxsolve.state.stores import Added, Constant

NUMBERS = st.one_of(st.integers(-5, 5), st.floats(-1e3, 1e3))


class State:
    def __init__(self) -> None:
        self.n: Any = 3
        self.m = 0


def counters_of(state: Any, line: Line | None = None) -> Counters:
    place = Place("state.n", vars(state), "n")
    return Counters({place.identity: Counter(place, place.read())}, {id(state): state}, line or Line())


@example([5, -5], (0, 0), True)  # of a float not even the sum of integers
@settings(deadline=None)
@given(st.lists(NUMBERS, max_size=6), st.tuples(st.integers(0, 9), st.integers(0, 9)), st.booleans())
def test_what_was_added_gives_the_same_bits_from_another_start(
    numbers: list[Any], starts: tuple[int, int], is_float: bool
) -> None:
    first, second = (float(start) + 0.1 if is_float else start for start in starts)
    counter = Counter(Place("n", {}, "n"), reduce(add, numbers, first), reduce(lambda a, b: (a, b), numbers, ()))
    recipe = counter.recipe()
    assert isinstance(recipe, Added)
    assert repr(reduce(add, recipe.numbers, second)) == repr(reduce(add, numbers, second))


def twice(s: Any) -> None:
    s.n += 2
    s.n = s.n - 5


def measured(s: Any) -> None:
    s.n += len("four")


def set_and_read(s: Any) -> int:
    s.n = 8
    return s.n


def set_and_added(s: Any) -> None:
    s.n = 8
    s.n += 1


def deleted(s: Any) -> None:
    del s.n


@pytest.mark.parametrize(
    ("run", "recipe"),
    [
        (twice, Added((-3,))),
        (measured, Added((4,))),
        (set_and_read, Constant(8)),
        (set_and_added, Constant(9)),
        (lambda s: hasattr(s, "m"), None),
    ],
)
def test_what_is_done_becomes_a_recipe(run: Callable[[Any], Any], recipe: Any) -> None:
    state = State()
    counters = counters_of(state)
    with watching(State, "n", counters):
        run(state)
    counters.check()
    assert [one.recipe for one in counters.stores()] == ([] if recipe is None else [recipe])


def interrupted(s: Any) -> None:
    try:
        s.n += len(3)
    except TypeError:
        s.m = 1


def in_thread(s: Any) -> None:
    thread = threading.Thread(target=lambda: s.n)
    thread.start()
    thread.join()


OBSTACLES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "read": (lambda s: s.n > 2, r"is read at .*test_counters\.py:\d+; a number that changes at each call can be kept"),
    "added elsewhere": (lambda s: setattr(s, "m", s.n + 1), "is read at"),
    "interrupted": (interrupted, "is added to, but not stored again"),
    "through its dict": (lambda s: vars(s).update(n=9), "is set through the __dict__ of its object"),
    "in a thread": (in_thread, "is used by another thread"),
    "in a copy": (lambda s: copy.copy(s).n, "may be read, in a copy of its object, at"),
}


def run_and_check(run: Callable[[Any], Any], state: State, counters: Counters) -> None:
    run(state)
    counters.check()


@pytest.mark.parametrize("name", OBSTACLES)
def test_what_may_depend_on_the_number_is_an_obstacle(name: str) -> None:
    run, message = OBSTACLES[name]
    state = State()
    counters = counters_of(state)
    with watching(State, "n", counters), pytest.raises(SideEffectError, match=rf"state\.n {message}"):
        run_and_check(run, state, counters)


def test_a_run_that_has_communicated_is_not_ended() -> None:
    state, line = State(), Line()
    with watching(State, "n", counters_of(state, line)):
        line.use("all_reduce")
        assert state.n == 3


def test_a_module_in_the_place_of_a_number_cannot_be_set_again() -> None:
    state = State()
    counters = counters_of(state)
    with watching(State, "n", counters):
        state.n = nn.Identity()
    with pytest.raises(SideEffectError, match=r"the program sets state\.n to something else; return it"):
        counters.stores()


@pytest.mark.parametrize(
    ("found", "again", "is_same"), [(4, 4, True), (4, 5, False), (4, 4.0, False), (float("nan"), float("nan"), True)]
)
def test_numbers_that_change_otherwise_in_a_second_run_are_refused(found: Any, again: Any, is_same: bool) -> None:
    owner = {"n": found}
    error = CountsError([Place("state.n", owner, "n")])
    assert str(error) == "the program changes state.n, which outlives the call; return it instead."
    owner["n"] = again
    if is_same:
        return error.check()
    with pytest.raises(SideEffectError, match=r"changes state\.n in another way when it runs again"):
        error.check()
    return None
