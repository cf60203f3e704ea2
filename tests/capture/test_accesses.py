"""An attribute that is watched behaves as ever, and each access to it is told with the code that makes it."""

from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType
from typing import Any

import pytest
from torch import nn

from fxsolve.capture.effects.accesses import default_of, watching
from fxsolve.state.places import MISSING


class Log:
    """What a watcher is told: the kind of access, the value, and the function that makes it."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    def see_read(self, owner: Any, name: str, value: Any, frame: FrameType) -> None:
        self.seen.append(("read", value, frame.f_code.co_name))

    def see_absence(self, owner: Any, name: str) -> None:
        self.seen.append(("absence",))

    def see_write(self, owner: Any, name: str, value: Any, frame: FrameType) -> None:
        self.seen.append(("deleted",) if value is MISSING else ("write", value, frame.f_code.co_name))


class Plain:
    pass


class Defaulted:
    n = 10


class Inheriting(Defaulted):
    pass


class Module(nn.Module):
    pass


class Answering:
    def __getattr__(self, name: str) -> str:
        return f"no {name}"


KINDS = [Plain, Defaulted, Inheriting, Module, Answering]


def read(x: Any) -> Any:
    return x.n


def write(x: Any) -> None:
    x.n = 5


def write_by_name(x: Any) -> None:
    vars(x)["n"] = 6


def add(x: Any) -> None:
    x.n += 1


def delete(x: Any) -> None:
    del x.n


def ask(x: Any) -> bool:
    return hasattr(x, "n")


def read_of_class(x: Any) -> Any:
    return getattr(type(x), "n", "none")


ACTIONS = [read, write, read, ask, add, write_by_name, read, delete, ask, delete, read_of_class, read]


def outcomes(x: Any) -> list[Any]:
    found: list[Any] = []
    for action in ACTIONS:
        try:
            found.append(action(x))
        except AttributeError:
            found.append(AttributeError)
    return [*found, dict(vars(x))["n"] if "n" in vars(x) else None]


@pytest.mark.parametrize("kind", KINDS)
def test_everything_is_as_ever_while_an_attribute_is_watched_and_afterwards(kind: type) -> None:
    before, expected = dict(vars(kind)), outcomes(kind())
    with watching(kind, "n", Log()):
        assert outcomes(kind()) == expected
        assert vars(kind) != before
    assert dict(vars(kind)) == before
    assert outcomes(kind()) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_each_access_is_told_with_its_code(kind: type) -> None:
    log, x = Log(), kind()
    x.n = 1
    with watching(kind, "n", log):
        read(x), add(x), delete(x), ask(x), write(x)
        write_by_name(x)  # not seen
    x.n = 7  # not any more
    told = [("read", 1, "read"), ("read", 1, "add"), ("write", 2, "add"), ("deleted",), ("absence",)]
    assert log.seen == [*told, ("write", 5, "write")]


@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_watchers_that_overlap_each_see_what_happens_in_their_own_body(kind: type, is_reversed: bool) -> None:
    before, logs, x = dict(vars(kind)), (Log(), Log()), kind()
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(watching(kind, "n", logs[0]))
        write(x)
        second.enter_context(watching(kind, "n", logs[1]))
        write(x)
        (first, second)[is_reversed].close()
        write(x)
    assert [len(log.seen) for log in logs] == ([3, 1] if is_reversed else [2, 2])
    assert dict(vars(kind)) == before


def test_a_class_that_another_one_inherits_from_may_be_watched_too() -> None:
    log, x = Log(), Inheriting()
    with watching(Inheriting, "n", log), watching(Defaulted, "n", log):
        assert read(x) == 10
        write(x)
        assert read(x) == 5
    assert [one[0] for one in log.seen].count("write") == 1


@pytest.mark.parametrize(("kind", "default"), [(Plain, MISSING), (Defaulted, 10), (Inheriting, 10), (Module, MISSING)])
def test_the_default_of_a_class_is_known_while_it_is_watched(kind: type, default: Any) -> None:
    assert default_of(kind, "n") is default
    with watching(kind, "n", Log()):
        assert default_of(kind, "n") is default


def test_an_attribute_of_the_class_that_is_set_meanwhile_stays() -> None:
    kind = type("Kind", (), {})
    setter: Callable[..., None] = setattr
    with watching(kind, "n", Log()):
        setter(kind, "n", 3)
    assert kind().n == 3
