"""Whether anybody looked at what was in a place before the run set it."""

import copy
import threading
from collections.abc import Callable
from typing import Any

import pytest

from fxsolve.capture.effects.accesses import watching
from fxsolve.capture.effects.firsts import Firsts
from fxsolve.state.places import Place


class State:
    def __init__(self) -> None:
        self.n = 1


def in_thread(function: Callable[[], Any]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def set_(x: State) -> None:
    x.n = 2


# What is done, whether what was there before was looked at, and whether the place was set.
RUNS: dict[str, tuple[Callable[[State], Any], bool, bool]] = {
    "nothing": (lambda x: None, False, False),
    "set": (set_, False, True),
    "set and read": (lambda x: (set_(x), x.n), False, True),
    "read": (lambda x: x.n, True, False),
    "read and set": (lambda x: (x.n, set_(x)), True, True),
    "added to": (lambda x: setattr(x, "n", x.n + 1), True, True),
    "asked for": (lambda x: hasattr(x, "n"), True, False),
    "deleted": (lambda x: delattr(x, "n"), True, False),
    "set and deleted": (lambda x: (set_(x), delattr(x, "n")), False, True),
    "a copy set": (lambda x: set_(copy.copy(x)), False, False),
    "a copy read": (lambda x: copy.copy(x).n, True, False),
    "set and a copy read": (lambda x: (set_(x), copy.copy(x).n), False, True),
    "read in a thread": (lambda x: in_thread(lambda: x.n), True, False),
    "set in a thread": (lambda x: in_thread(lambda: set_(x)), False, False),
    "another object": (lambda x: (OTHER.n, set_(OTHER)), False, False),
}
OTHER = State()


@pytest.mark.parametrize("name", RUNS)
def test_what_is_done_first_decides(name: str) -> None:
    run, is_read, is_set = RUNS[name]
    state = State()
    place = Place("state.n", vars(state), "n")
    firsts = Firsts({place.identity: place}, {id(one): one for one in (state, OTHER)})
    with watching(State, "n", firsts):
        run(state)
    assert firsts.unread() == (() if is_read else (place,))
    assert firsts.is_set(place) == is_set


def test_what_is_not_there_is_looked_at_too() -> None:
    state = State()
    del state.n
    place = Place("state.n", vars(state), "n")
    firsts = Firsts({place.identity: place}, {id(state): state})
    with watching(State, "n", firsts):
        assert not hasattr(state, "n")
        set_(state)
    assert firsts.unread() == ()
