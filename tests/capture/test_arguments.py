"""Containers among the arguments of a program are as before after an error, and a change of them is one."""

import copy
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

import pytest
import torch

from fxsolve.capture.communication import Line
from fxsolve.capture.record.arguments import unchanged
from fxsolve.errors import SideEffectError

X = torch.zeros(2)


def arguments() -> dict[str, Any]:
    inner = [1, X]
    return {"list": [inner, (inner, {"deep": {2}})], "dict": OrderedDict(a=X, b=0), "deque": deque([1, 2], maxlen=2)}


CHANGES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "appended": ("list", lambda a: a["list"].append(1)),
    "an equal tensor": ("list", lambda a: a["list"][0].__setitem__(1, torch.zeros(2))),
    "an equal list": ("list", lambda a: a["list"].__setitem__(0, [1, X])),
    "in a tuple": ("set", lambda a: a["list"][1][1]["deep"].add(3)),
    "one key less": ("OrderedDict", lambda a: a["dict"].pop("a")),
    "the order of keys": ("OrderedDict", lambda a: a["dict"].move_to_end("a")),
    "pushed out": ("deque", lambda a: a["deque"].append(3)),
    "cleared": ("dict", lambda a: a["list"][1][1].clear()),
}


def spoil(change: Callable[[Any], Any], given: Any) -> None:
    change(given)
    raise ZeroDivisionError


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_an_error_that_names_the_kind_and_is_taken_back(name: str) -> None:
    kind, change = CHANGES[name]
    given = arguments()
    before, parts = copy.copy(given), copy.deepcopy(given, {id(X): X})
    with (
        pytest.raises(SideEffectError, match=f"changes a {kind} among its arguments; return what is new instead"),
        unchanged((), given, Line()),
    ):
        change(given)
    assert given == parts
    assert all(given[key] is before[key] for key in before)


@pytest.mark.parametrize("name", CHANGES)
def test_after_an_error_of_the_program_all_is_as_before_and_the_error_is_its_own(name: str) -> None:
    given = arguments()
    parts = copy.deepcopy(given, {id(X): X})
    with pytest.raises(ZeroDivisionError), unchanged((given,), {}, Line()):
        spoil(CHANGES[name][1], given)
    assert given == parts


def test_what_is_put_back_by_the_program_itself_is_no_change() -> None:
    given = arguments()
    with unchanged((given,), {"more": given["list"]}, Line()):
        given["list"].append(given["list"].pop())
        given["dict"]["b"] = given["dict"]["b"]


def test_a_tensor_that_wants_gradients_anew_wants_none_afterwards() -> None:
    given, wants = torch.zeros(2), torch.zeros(2, requires_grad=True)
    with pytest.raises(SideEffectError, match="makes an argument want gradients"), unchanged(([given],), {}, Line()):
        given.requires_grad_()
    assert not given.requires_grad
    with unchanged((wants,), {}, Line()):
        wants.requires_grad_()
    assert wants.requires_grad


@pytest.mark.parametrize("fails", [False, True])
def test_what_a_program_does_once_it_has_communicated_stays(fails: bool) -> None:
    given, line = [1], Line()
    try:
        with unchanged((given,), {}, line):
            line.use("all_reduce")
            given.append(2)
            given.append(1 // (not fails))
    except ZeroDivisionError:
        assert fails
    assert given[:2] == [1, 2]
