"""What a run left in places that outlive it is put back, and left there again by its stores."""

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fxsolve.capture.effects.counters import CountsError
from fxsolve.capture.record.changes import Changes, find_changes
from fxsolve.errors import SideEffectError
from fxsolve.state.reach import find_reach
from fxsolve.state.snapshot import Snapshot, take_snapshot
from fxsolve.state.storing import store
from tests.capture.recording import recorder_of, run


class Kept:
    """An object of the program."""


class Model(nn.Module):
    def __init__(self, change: Callable[["Model", Tensor], Any]) -> None:
        super().__init__()
        self.h: Any = torch.zeros(3)
        self.states: Any = [torch.ones(3)]
        self.table: Any = OrderedDict(a=[1, 2])
        self.recent: Any = deque([torch.zeros(3)], maxlen=1)
        self.label, self.object, self.count = "new", Kept(), 0
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        y = x * 2 + self.h
        self.change(self, y)
        return y


def changed(model: Model) -> tuple[Changes, Snapshot, tuple[Tensor, ...]]:
    x = torch.rand(3)
    recorder, snapshot = recorder_of((x,), model), take_snapshot(find_reach(model))
    with torch.no_grad():
        result = run(recorder, model, x)
    changes = find_changes(recorder, snapshot, (result,), (), frozenset(), {})
    return changes, snapshot, (result, *changes.stored)


def exact(value: Any) -> Any:
    """Equal where containers are, and everything else is the same object."""
    if isinstance(value, dict):
        return type(value), [(key, exact(item)) for key, item in value.items()]
    if isinstance(value, list | tuple | deque):
        return type(value), [exact(item) for item in value], getattr(value, "maxlen", None)
    return value if isinstance(value, str | int | set | type(None)) else id(value)


def held(model: Model) -> Any:
    return {key: exact(value) for key, value in vars(model).items() if not key.startswith("_")}


def exchange(m: Model, y: Tensor) -> None:
    m.h, m.states[0] = m.states[0], m.h


def share(m: Model, y: Tensor) -> None:
    m.states = m.table["a"] = [y, (y, {"deep": y * 2})]


CHANGES: dict[str, Callable[[Model, Tensor], Any]] = {
    "a state": lambda m, y: setattr(m, "h", y),
    "another tensor": lambda m, y: setattr(m, "h", torch.tanh(y)),
    "a constant": lambda m, y: setattr(m, "label", "old"),
    "none": lambda m, y: setattr(m, "h", None),
    "deleted": lambda m, y: delattr(m, "label"),
    "a new attribute": lambda m, y: setattr(m, "cache", (y, "c", 3.5)),
    "an entry": lambda m, y: m.states.__setitem__(0, y),
    "a new list": lambda m, y: setattr(m, "states", [y, y * 2]),
    "cleared and filled": lambda m, y: (m.states.clear(), m.states.extend([y, y])),
    "a key": lambda m, y: m.table.__setitem__("a", {"b": {1, 2}}),
    "pushed out": lambda m, y: m.recent.append(y),
    "one object elsewhere": lambda m, y: setattr(m, "label", m.object),
    "exchanged": exchange,
    "one container at two places": share,
}


@pytest.mark.parametrize("name", CHANGES)
def test_stores_leave_what_the_run_left_once_it_is_put_back(name: str) -> None:
    model = Model(CHANGES[name])
    before = held(model)
    changes, snapshot, outputs = changed(model)
    after = held(model)
    assert after != before
    changes.before.put_back()
    assert held(model) == before
    assert snapshot.changed() == ()
    store(changes.stores, outputs)
    assert held(model) == after


def test_containers_that_were_one_are_one_again() -> None:
    model = Model(share)
    changes, _, outputs = changed(model)
    changes.before.put_back()
    store(changes.stores, outputs)
    assert model.states is model.table["a"]


def test_a_list_that_is_filled_again_stays_the_same_list() -> None:
    model = Model(CHANGES["cleared and filled"])
    states = model.states
    changes, _, outputs = changed(model)
    changes.before.put_back()
    store(changes.stores, outputs)
    assert model.states is states


def test_the_next_run_finds_its_own_tensors_where_rebound_ones_were() -> None:
    model = Model(lambda m, y: (setattr(m, "h", y), m.states.__setitem__(0, y * 2)))
    old = {id(model.h): "h", id(model.states[0]): "states"}
    changes, _, _ = changed(model)
    assert {old[id(tensor)]: (read.place.key, read.path) for read, tensor in changes.candidates} == {
        "h": ("h", ()),
        "states": ("states", (0,)),
    }


def nested(depth: int) -> list[Any]:
    return [nested(depth - 1)] if depth else []


REFUSED: dict[str, tuple[Callable[[Model, Tensor], Any], str]] = {
    "a new object": (
        lambda m, y: setattr(m, "object", Kept()),
        r"changes Model\.object, which outlives the call; return",
    ),
    "one entry more": (
        lambda m, y: m.states.append(y),
        r"Model\.states, .* and gets longer or shorter each time; clear",
    ),
    "one entry less": (lambda m, y: setattr(m, "table", {}) or m.table or m.states.insert(0, y), "longer or shorter"),
    "tensors in a set": (lambda m, y: setattr(m, "states", {y}), r"changes Model\.states, which outlives the call"),
    "deep": (lambda m, y: setattr(m, "states", nested(80)), "containers in one another more than 64 deep"),
    "a gradient": (lambda m, y: setattr(m.scale, "grad", y), r"changes Model\.scale\.grad, which outlives the call"),
    "a hook": (lambda m, y: m.register_forward_hook(lambda *_: None), "_forward_hooks"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_made_again_is_refused_by_its_place(name: str) -> None:
    change, message = REFUSED[name]
    model = Model(change)
    model.scale = nn.Parameter(torch.ones(3))
    with pytest.raises(SideEffectError, match=message):
        changed(model)


def test_a_number_that_was_not_watched_asks_for_another_run() -> None:
    with pytest.raises(CountsError, match=r"changes Model\.count, which outlives the call") as caught:
        changed(Model(lambda m, y: setattr(m, "count", m.count + 1)))
    assert [(place.key, number) for place, number in caught.value.left] == [("count", 1)]
