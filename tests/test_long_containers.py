"""States that a program keeps in containers, however many: the same ones after every call, and the loop emitted."""

import collections
import copy
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.state.places import MAX_NESTED

B, N, T = 2, 3, 100
State = collections.namedtuple("State", ["h", "sum"])
FLAGS: dict[str, Any] = {"trace": None}


@pytest.fixture(autouse=True)
def _no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


class Walker(nn.Module):
    """h_t = softplus(W h_{t-1} + x_t) - 1/2, every h_t put into `trace`."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(N, N)
        self.trace: Any = self.first()

    def first(self) -> Any:
        return None

    def start(self) -> None:
        self.trace = []

    def put(self, t: int, h: Tensor) -> None:
        self.trace.append(h)

    def end(self, h: Tensor) -> Any:
        return h

    def forward(self, x: Tensor) -> Any:
        self.start()
        h = torch.zeros(x.shape[1], N)
        for t in range(x.shape[0]):
            h = nn.functional.softplus(self.mix(h) + x[t]) - 0.5
            self.put(t, h)
        return self.end(h)

    def kept(self) -> Any:
        return self.trace


class Cleared(Walker):
    def first(self) -> Any:
        return []

    def start(self) -> None:
        self.trace.clear()


class ClearedDict(Cleared):
    def first(self) -> Any:
        return {}

    def put(self, t: int, h: Tensor) -> None:
        self.trace[f"step {t}"] = h


class Ordered(Walker):
    def start(self) -> None:
        self.trace = collections.OrderedDict()

    def put(self, t: int, h: Tensor) -> None:
        self.trace[t] = h


class Bounded(Walker):
    """A deque keeps the last ones."""

    def first(self) -> Any:
        return collections.deque(maxlen=80)

    def start(self) -> None:
        pass


class Pairs(Walker):
    def put(self, t: int, h: Tensor) -> None:
        self.trace.append(State(h, h.sum(1)))


class Numbers(Walker):
    def put(self, t: int, h: Tensor) -> None:
        self.trace.append((h, 0.5 * t, f"step {t}"))


class Layers(Walker):
    def start(self) -> None:
        self.trace = [[] for _ in range(3)]

    def put(self, t: int, h: Tensor) -> None:
        for k, layer in enumerate(self.trace):
            layer.append(h * k)


class Deep(Walker):
    def start(self) -> None:
        self.trace = {"encoder": {"layers": [{"states": []}]}}

    def put(self, t: int, h: Tensor) -> None:
        self.trace["encoder"]["layers"][0]["states"].append([(h,)])


class AtTheEnd(Walker):
    def end(self, h: Tensor) -> Any:
        self.trace = tuple(self.trace)
        return h


class Rows(Walker):
    """The states are views of one tensor."""

    def end(self, h: Tensor) -> Any:
        self.trace = list(torch.stack(self.trace).unbind(0))
        return h


class Returned(Walker):
    def end(self, h: Tensor) -> Any:
        return h, self.trace


class Read(Walker):
    """The states of the last call are read in the next one."""

    def start(self) -> None:
        self.before, self.trace = self.trace, []

    def end(self, h: Tensor) -> Any:
        return h if self.before is None else h + self.before[-1] + self.before[len(self.before) // 2]


@dataclasses.dataclass
class Log:
    states: list[Tensor] = dataclasses.field(default_factory=list)


class InAnObject(Walker):
    def first(self) -> Any:
        return Log()

    def start(self) -> None:
        self.trace.states = []

    def put(self, t: int, h: Tensor) -> None:
        self.trace.states.append(h)

    def kept(self) -> Any:
        return self.trace.states


KINDS = [
    Walker, Cleared, ClearedDict, Ordered, Bounded, Pairs, Numbers, Layers, Deep, AtTheEnd, Rows, Returned, Read,
    InAnObject,
]  # fmt: skip


def objects(value: Any) -> list[Any]:
    """The types and plain values in nested containers, and their tensors, in order."""
    if isinstance(value, dict):
        return [type(value), *value, *(found for item in value.values() for found in objects(item))]
    if isinstance(value, (list, tuple, collections.deque)):
        return [type(value), *(found for item in value for found in objects(item))]
    return [value]


def sharing(tensors: list[Tensor]) -> list[int]:
    """For each tensor the number of the first one on its memory."""
    first: dict[int, int] = {}
    return [first.setdefault(one.untyped_storage().data_ptr(), k) for k, one in enumerate(tensors)]


def assert_same(found: Any, expected: Any) -> None:
    ours, theirs = objects(found), objects(expected)
    assert [type(one) for one in ours] == [type(one) for one in theirs]
    for one, other in zip(ours, theirs, strict=True):
        if not isinstance(other, Tensor):
            assert one == other
            continue
        assert torch.equal(one, other)
        assert (one.stride(), one.requires_grad) == (other.stride(), other.requires_grad)


def follow(model: Walker, lengths: tuple[int, ...]) -> Any:
    """The compiled copy of a model, after calls at which both did and kept the same."""
    twin = copy.deepcopy(model)
    fast = fxsolve.compile(twin, schedule="gs", backend="eager")
    for length in lengths:
        x = torch.randn(length, B, N)
        result = fast(x)
        assert_same(result, model(x))
        assert_same(twin.kept(), model.kept())
        ours, theirs = ([one for one in objects(m.kept()) if isinstance(one, Tensor)] for m in (twin, model))
        assert sharing(ours) == sharing(theirs)
    return fast


def assert_emitted(fast: Any, length: int) -> None:
    assert fast.report().status == "emitted", fast.report().reason
    assert length in [loop.length for loop in fast.report().loops]
    assert "loop0" in str(fast.schedule)
    assert all(entry.status == "emitted" for entry in fast.entries)


@pytest.mark.parametrize("kind", KINDS)
def test_a_container_holds_what_the_original_leaves_in_it(kind: type[Walker]) -> None:
    # What the last call left tells calls apart, and Read keeps that of two calls.
    fast = follow(kind(), (T, T, T, T, T) if kind is Read else (T, T, T, T + 30, T + 30, T, T))
    assert_emitted(fast, T)
    assert fast.entries[-1].calls > 0


def test_a_thousand_states_are_kept() -> None:
    assert_emitted(follow(Cleared(), (1000, 1000, 1000)), 1000)


def test_detached_states_are_kept_while_gradients_are_wanted() -> None:
    class Detached(Walker):
        def put(self, t: int, h: Tensor) -> None:
            self.trace.append(h.detach())

    model = Detached()
    twin = copy.deepcopy(model)
    fast = fxsolve.compile(twin, schedule="gs", backend="eager")
    with torch.enable_grad():
        for _ in range(4):
            x = torch.randn(T, B, N)
            for one in (fast, model):
                one(x).sum().backward()
            assert_same(twin.trace, model.trace)
        assert_emitted(fast, T)
    torch.testing.assert_close(twin.mix.weight.grad, model.mix.weight.grad)


def test_states_with_gradients_beyond_the_limit_are_left_to_the_original_for_a_reason_with_its_number() -> None:
    with torch.enable_grad():
        fast = follow(Walker(), (40, 40))
    assert fast.report().status == "left alone"
    assert "39 tensors that others of its results were computed from, more than 16" in fast.report().reason


def test_a_list_of_an_argument_and_of_a_closure_and_of_a_module_of_globals_is_kept() -> None:
    mix, seen = nn.Linear(N, N), []

    def program(x: Tensor, log: Log) -> Tensor:
        h = torch.zeros(B, N)
        seen.clear()
        log.states, FLAGS["trace"] = [], []
        for x_t in x:
            h = torch.tanh(mix(h) + x_t)
            seen.append(h)
            log.states.append(h)
            FLAGS["trace"].append(h)
        return h

    fast, log = fxsolve.compile(program, schedule="gs", backend="eager"), Log()
    for _ in range(4):
        x = torch.randn(T, B, N)
        result = fast(x, log)
        ours = [*seen], [*log.states], [*FLAGS["trace"]]
        assert all(one is other is third for one, other, third in zip(*ours, strict=True))
        assert torch.equal(result, program(x, log))
        assert_same(ours, ([*seen], [*log.states], [*FLAGS["trace"]]))
    assert_emitted(fast, T)


# What a program finds in containers.


def test_an_item_of_a_long_list_that_changes_is_another_call() -> None:
    class Scaled(Walker):
        def __init__(self) -> None:
            super().__init__()
            self.scales: list[Any] = [1.0] * 500

        def start(self) -> None:
            self.trace = None

        def put(self, t: int, h: Tensor) -> None:
            pass

        def end(self, h: Tensor) -> Any:
            return h * self.scales[400]

    model = Scaled()
    fast = follow(model, (T, T))
    assert_emitted(fast, T)
    twin: Any = fast
    x = torch.randn(T, B, N)
    for scale in (2.0, torch.tensor(3.0), 1.0):
        model.scales[400] = scale
        twin.scales[400] = scale
        assert torch.equal(fast(x), model(x))
        assert fast.report().status == "emitted"


def test_an_item_of_a_long_list_that_the_program_sets_is_set() -> None:
    class Marked(Walker):
        def first(self) -> Any:
            return [0] * 200

        def start(self) -> None:
            pass

        def put(self, t: int, h: Tensor) -> None:
            pass

        def end(self, h: Tensor) -> Any:
            self.trace[150] = h
            return h

    assert_emitted(follow(Marked(), (T, T, T)), T)


def test_a_list_in_itself_is_told_apart() -> None:
    class Circular(Walker):
        def __init__(self) -> None:
            super().__init__()
            self.ring: list[Any] = [1.0]
            self.ring.append(self.ring)

        def end(self, h: Tensor) -> Any:
            return h * self.ring[1][1][0]

    model = Circular()
    fast = follow(model, (T, T, T))
    assert_emitted(fast, T)
    twin: Any = fast
    model.ring[0] = twin.ring[0] = 2.0
    x = torch.randn(T, B, N)
    assert torch.equal(fast(x), model(x))


# What is left to the original.


def test_containers_deeper_than_the_limit_are_left_to_the_original_for_a_reason_with_its_number() -> None:
    class Linked(Walker):
        def start(self) -> None:
            self.trace = ()

        def put(self, t: int, h: Tensor) -> None:
            self.trace = (h, self.trace)

    fast = follow(Linked(), (T, T, T))
    assert fast.report().status == "left alone"
    assert f"holds containers in one another more than {MAX_NESTED} deep" in fast.report().reason


class Note:
    def __init__(self, h: Tensor) -> None:
        self.h = h


class Notes(Cleared):
    def start(self) -> None:
        self.trace = []

    def put(self, t: int, h: Tensor) -> None:
        self.trace.append(Note(h))


class Growing(Cleared):
    def start(self) -> None:
        pass


@pytest.mark.parametrize(("kind", "reason"), [(Notes, "changes Notes.trace"), (Growing, "gets longer or shorter")])
def test_a_recording_that_fails_is_not_tried_at_every_call(
    kind: type[Walker], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, runs = kind(), []
    begin: Callable[[], None] = model.start
    monkeypatch.setattr(model, "start", lambda: (runs.append(torch._C._len_torch_dispatch_stack()), begin()))
    fast, x = fxsolve.compile(model, schedule="gs", backend="eager"), torch.randn(T, B, N)
    for _ in range(8):
        fast(x)
    assert fast.report().status == "left alone"
    assert reason in fast.report().reason
    # A call that changes the program is tried twice; from an empty list one that grows can be recorded, too.
    assert sum(run > 0 for run in runs) <= (2 if kind is Notes else 3)
