"""Numbers are watched while a program runs, and refused where they may be read or set unseen."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fxsolve.capture.communication import Line
from fxsolve.capture.record.watched import watched, watched_firsts
from fxsolve.errors import SideEffectError
from fxsolve.state.places import Place
from fxsolve.state.reach import find_reach
from fxsolve.state.snapshot import take_snapshot
from fxsolve.state.stores import Added, Store


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.n, self.m = 3, 4

    def forward(self, x: Tensor) -> Tensor:
        self.n += 2
        return x


class Printing(Model):
    def describe(self) -> dict[str, Any]:
        return vars(self)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


class Calling(Model):
    def forward(self, x: Tensor) -> Tensor:
        helper(self)
        return super().forward(x)


def helper(model: nn.Module) -> int:
    return len(model.__dict__)


class Property(Model):
    @property
    def twice(self) -> int:
        return 2 * self.__dict__["n"]


class Own(Model):
    def __getattribute__(self, name: str) -> Any:
        return super().__getattribute__(name)


class Setting(Model):
    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)


class Copying(Model):
    def __deepcopy__(self, memo: Any) -> Any:
        return vars(self)  # makes objects, and decides nothing


def wanted(program: Any, key: str = "n") -> frozenset[tuple[int, str]]:
    return frozenset({(id(vars(program)), key)})


def run(program: Model) -> tuple[Store, ...]:
    reach = find_reach(program)
    with watched(reach, take_snapshot(reach), wanted(program), Line()) as counters:
        program(torch.zeros(1))
        counters.check()
    return counters.stores()


@pytest.mark.parametrize("kind", [Model, Copying])
def test_what_a_program_adds_to_a_number_is_known(kind: type[Model]) -> None:
    program = kind()
    before = dict(vars(kind))
    (one,) = run(program)
    assert (one.place.key, one.recipe) == ("n", Added((2,)))
    assert program.n == 5
    assert dict(vars(kind)) == before


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Printing, r"Printing\.describe may read it by the __dict__ of its object"),
        (Calling, "helper may read it by the __dict__"),
        (Property, r"Property\.twice may read it by the __dict__"),
        (Own, "Own has its own way to read or set attributes; return it instead"),
        (Setting, "Setting has its own way to read or set attributes"),
    ],
)
def test_a_number_that_may_be_read_or_set_unseen_is_refused(kind: type[Model], message: str) -> None:
    with pytest.raises(SideEffectError, match=rf"the program changes {kind.__name__}\.n, which outlives.* {message}"):
        run(kind())


def test_a_number_in_a_closure_is_no_attribute() -> None:
    total = 0

    def program() -> None:
        nonlocal total
        total += 1

    reach = find_reach(program)
    (place,) = (place for place in reach.places if place.key == "cell_contents")
    with (
        pytest.raises(SideEffectError, match="the program changes total, which outlives the call; return it instead"),
        watched(reach, take_snapshot(reach), frozenset({place.identity}), Line()),
    ):
        program()


def test_places_that_hold_no_numbers_are_not_watched() -> None:
    program = Model()
    program.n = torch.zeros(1)
    assert run(program) == ()


def firsts(program: Any, action: Callable[[Any], Any], *keys: str) -> list[str]:
    places = [Place(key, vars(program), key) for key in keys]
    with watched_firsts(find_reach(program), places) as found:
        action(program)
    return [place.key for place in found.unread()]


def test_places_are_told_that_nobody_looks_at_before_they_are_set() -> None:
    assert firsts(Model(), lambda p: p.n, "n", "m") == ["m"]
    assert firsts(Model(), lambda p: setattr(p, "n", 1) or p.n, "n", "m") == ["n", "m"]


def test_where_one_may_be_missed_none_is_told_and_where_it_cannot_be_watched_the_others_are() -> None:
    assert firsts(Calling(), lambda p: None, "n", "m") == []
    assert firsts(Own(), lambda p: None, "n") == []
    assert firsts(Model(), lambda p: None, "n", "training") == ["n", "training"]
