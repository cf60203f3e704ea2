"""State that a program rebinds on its modules, or elsewhere, is call by call what it is with the original."""

import copy
import pickle
from collections import OrderedDict, deque, namedtuple
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.runtime.compiled import Compiled
from tests.loops.programs import numbers

B, N, T = 3, 4, 7
CALLS = 4
Pair = namedtuple("Pair", ["h", "c"])


@pytest.fixture(autouse=True)
def _no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


def compiled(program: Callable[..., Any], **options: Any) -> Compiled:
    return fxsolve.compile(program, **{"schedule": "gs", "backend": "eager", **options})


def assert_same(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


def assert_emitted(fast: Compiled) -> None:
    assert str(fast.schedule) != "original", fast.report().reason
    assert [loop.length for loop in fast.report().loops] == [T], fast.report().loops


def follow(fast: Compiled, twin: Any, model: Any, states: Callable[[Any], Any], calls: int = CALLS) -> None:
    """Call both in turn: equal results, and equal states in containers of the same kinds, after every call."""
    for _ in range(calls):
        x = numbers(T, B, N)
        expected = model(x.clone())
        assert_same(fast(x), expected)
        ours, theirs = states(twin), states(model)
        assert type(ours) is type(theirs)
        assert_same(ours, theirs)


def run_both(model: nn.Module, states: Callable[[Any], Any], entries: int, **options: Any) -> tuple[Compiled, Any]:
    """A compiled copy of `model` that has followed it and runs by itself, and the copy."""
    twin = copy.deepcopy(model)
    fast = compiled(twin, **options)
    follow(fast, twin, model, states)
    assert_emitted(fast)
    assert len(fast.entries) == entries
    assert fast.entries[-1].calls == CALLS - entries
    return fast, twin


class Cell(nn.Module):
    """h_t = tanh(W h_{t-1} + x_t), with the last h kept as an attribute."""

    h: Any

    def __init__(self, start: Any = None) -> None:
        super().__init__()
        self.linear = nn.Linear(N, N)
        self.h = start

    def start(self, x: Tensor) -> Tensor:
        return torch.zeros(B, N) if self.h is None else self.h

    def keep(self, h: Tensor, x: Tensor) -> None:
        self.h = h

    def forward(self, x: Tensor) -> Any:
        h = self.start(x)
        outputs = []
        for x_t in x.unbind(0):
            h = torch.tanh(self.linear(h) + x_t)
            outputs.append(h)
        self.keep(h, x)
        return torch.stack(outputs)


def test_an_attribute_that_is_none_first_holds_a_tensor_from_then_on() -> None:
    fast, twin = run_both(Cell(), lambda model: model.h, entries=2)
    assert any("sets Cell.h after each run" in note for note in fast.report().notes)
    assert type(twin.h) is Tensor
    assert not twin.h.requires_grad


def test_a_tensor_from_the_start_needs_one_recording() -> None:
    run_both(Cell(torch.ones(B, N)), lambda model: model.h, entries=1)


def test_an_attribute_that_is_missing_first_is_made() -> None:
    class Lazy(Cell):
        def __init__(self) -> None:
            super().__init__()
            del self.h

        def start(self, x: Tensor) -> Tensor:
            return self.h if hasattr(self, "h") else torch.zeros(B, N)

    fast, twin = run_both(Lazy(), lambda model: model.h, entries=2)
    del twin.h
    calls = len(fast.entries)
    fast(numbers(T, B, N))
    assert len(fast.entries) == calls
    assert twin.h.shape == (B, N)


def test_a_buffer_is_rebound() -> None:
    class Registered(Cell):
        def __init__(self) -> None:
            super().__init__()
            del self.h
            self.register_buffer("h", torch.zeros(B, N))

    fast, twin = run_both(Registered(), lambda model: model.state_dict()["h"], entries=1)
    assert twin._buffers["h"] is twin.h
    assert "h" in fast.state_dict()


def test_a_state_that_is_reset_between_calls_uses_the_recording_of_the_first_call() -> None:
    model = Cell()
    fast, twin = run_both(model, lambda model: model.h, entries=2)
    for _ in range(2):
        model.h = twin.h = None
        follow(fast, twin, model, lambda model: model.h, calls=3)
    assert len(fast.entries) == 2


def test_a_state_that_is_set_from_outside_is_read() -> None:
    model = Cell()
    fast, twin = run_both(model, lambda model: model.h, entries=2)
    h = numbers(B, N)
    model.h, twin.h = h.clone(), h.clone()
    follow(fast, twin, model, lambda model: model.h, calls=2)
    outside: Any = fast
    outside.h = torch.ones(B, N)
    model.h = torch.ones(B, N)
    follow(fast, twin, model, lambda model: model.h, calls=2)
    assert len(fast.entries) == 2


def test_a_state_that_is_read_outside_stays_what_it_was() -> None:
    fast, twin = run_both(Cell(), lambda model: model.h, entries=2)
    before = twin.h
    values = before.clone()
    fast(numbers(T, B, N))
    assert twin.h is not before
    assert_same(before, values)


def test_a_state_of_another_form_is_another_signature() -> None:
    model = Cell()
    fast, twin = run_both(model, lambda model: model.h, entries=2)
    for start in (torch.ones(N), torch.ones(N, B).t()):
        model.h, twin.h = start.clone(), start.clone()
        follow(fast, twin, model, lambda model: model.h, calls=2)
    assert len(fast.entries) == 4


# Which object is stored, and what it shares memory with.


def test_a_result_that_is_kept_too_is_one_object() -> None:
    class Returned(Cell):
        def forward(self, x: Tensor) -> Any:
            return super().forward(x), self.h, self.h

    model = Returned()
    fast, twin = run_both(model, lambda model: model.h, entries=2)
    _, one, two = fast(numbers(T, B, N))
    assert one is two is twin.h


def test_an_input_that_is_kept_is_stored_itself() -> None:
    class Delayed(Cell):
        def start(self, x: Tensor) -> Tensor:
            return torch.zeros(B, N) if self.h is None else self.h[-1]

        def keep(self, h: Tensor, x: Tensor) -> None:
            self.h = x

    fast, twin = run_both(Delayed(), lambda model: model.h, entries=2)
    x = numbers(T, B, N)
    fast(x)
    assert twin.h is x
    fast(x)  # the argument is the state now, too
    assert twin.h is x


def test_a_view_of_an_input_that_is_kept_follows_the_input() -> None:
    class Delayed(Cell):
        def keep(self, h: Tensor, x: Tensor) -> None:
            self.h = x[-1]

    model = Delayed()
    fast, twin = run_both(model, lambda model: model.h, entries=2)
    x = numbers(T, B, N)
    y = x.clone()
    fast(x), model(y)
    x.mul_(2), y.mul_(2)
    assert_same(twin.h, model.h)
    follow(fast, twin, model, lambda model: model.h, calls=2)


def test_a_tensor_in_two_places_is_one_object_in_both() -> None:
    class Twice(Cell):
        def start(self, x: Tensor) -> Tensor:
            self.__dict__.setdefault("other", self.h)
            return torch.zeros(B, N) if self.h is None else self.h + self.other

        def keep(self, h: Tensor, x: Tensor) -> None:
            self.h = self.other = h

    model = Twice()
    fast, twin = run_both(model, lambda model: (model.h, model.other), entries=2)
    assert twin.h is twin.other
    model.other, twin.other = torch.ones(B, N), torch.ones(B, N)
    follow(fast, twin, model, lambda model: (model.h, model.other), calls=2)
    assert twin.h is twin.other


def test_a_view_of_a_result_that_is_kept_follows_the_result() -> None:
    class Last(Cell):
        def forward(self, x: Tensor) -> Tensor:
            out = super().forward(x)
            self.h = out[-1]
            return out

    model = Last()
    fast, twin = run_both(model, lambda model: model.h, entries=2)
    x = numbers(T, B, N)
    ours, theirs = fast(x), model(x)
    ours.mul_(3), theirs.mul_(3)
    assert_same(twin.h, model.h)
    assert twin.h.untyped_storage().data_ptr() == ours.untyped_storage().data_ptr()
    follow(fast, twin, model, lambda model: model.h, calls=2)


def test_a_state_shares_no_memory_with_results_that_it_is_apart_from() -> None:
    model = Cell()
    fast, twin = run_both(model, lambda model: model.h, entries=2)
    x = numbers(T, B, N)
    fast(x).zero_(), model(x).zero_()
    assert_same(twin.h, model.h)


def test_parts_of_one_tensor_are_kept_on_one_memory() -> None:
    class Halves(Cell):
        def keep(self, h: Tensor, x: Tensor) -> None:
            self.left, self.right = (h * 2).chunk(2, 1)
            self.h = torch.cat([self.left, self.right], 1)

    model = Halves()
    fast, twin = run_both(model, lambda model: (model.left, model.right, model.h), entries=2)
    assert twin.left._base is twin.right._base
    assert twin.left._base is not None
    follow(fast, twin, model, lambda model: (model.left, model.right, model.h), calls=2)


def test_parts_that_overlap_are_kept_on_one_memory() -> None:
    class Overlapping(Cell):
        def keep(self, h: Tensor, x: Tensor) -> None:
            doubled = h * 2
            self.h, self.left, self.right = h, doubled[:2], doubled[1:]

    model = Overlapping()
    _, twin = run_both(model, lambda model: (model.left, model.right, model.h), entries=2)
    for one in (model, twin):
        one.left.zero_()
    assert_same(twin.right, model.right)


def test_detached_parts_that_overlap_are_left_to_the_original() -> None:
    class Overlapping(Cell):
        def keep(self, h: Tensor, x: Tensor) -> None:
            doubled = h * 2
            self.h, self.left, self.right = h, doubled.detach()[:2], doubled.detach()[1:]

    model = Overlapping()
    twin = copy.deepcopy(model)
    fast = compiled(twin)
    follow(fast, twin, model, lambda model: (model.left, model.right))
    assert str(fast.schedule) == "original"
    assert "shares some of its entries with another" in fast.report().reason


def test_the_strides_of_a_state_are_kept() -> None:
    class Turned(Cell):
        def keep(self, h: Tensor, x: Tensor) -> None:
            self.h = torch.empty(N, B).t().copy_(h)

    model = Turned(torch.zeros(N, B).t())
    twin = copy.deepcopy(model)
    fast = compiled(twin)
    for _ in range(CALLS):
        x = numbers(T, B, N)
        assert_same(fast(x), model(x))
        assert twin.h.stride() == model.h.stride()
    assert_emitted(fast)


def test_a_parameter_as_the_first_state_stays_a_parameter() -> None:
    class Learned(Cell):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Parameter(torch.ones(B, N))
            self.reset()

        def reset(self) -> None:
            self.__dict__["h"] = self.first

    model = Learned()
    twin = copy.deepcopy(model)
    fast = compiled(twin)
    for _ in range(3):
        follow(fast, twin, model, lambda model: model.h, calls=3)
        assert_emitted(fast)
        model.reset(), twin.reset()
        for one in (model, twin):
            one.first.data.mul_(0.5)
    assert len(fast.entries) == 2


def test_writes_into_a_state_that_is_rebound_reach_who_holds_it() -> None:
    class Decaying(Cell):
        def start(self, x: Tensor) -> Tensor:
            return torch.zeros(B, N) if self.h is None else self.h.mul_(0.5)

    model = Decaying()
    fast, twin = run_both(model, lambda model: model.h, entries=2)
    ours, theirs = twin.h, model.h
    follow(fast, twin, model, lambda model: model.h, calls=1)
    assert_same(ours, theirs)


# Containers, objects and other places.


class Pairs(Cell):
    """The state is a container of two tensors; `make` makes a new one at each call."""

    def __init__(self, make: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.make = make

    def start(self, x: Tensor) -> Tensor:
        if self.h is None:
            return torch.zeros(B, N)
        one, two = self.h.values() if isinstance(self.h, dict) else self.h
        return one + two

    def keep(self, h: Tensor, x: Tensor) -> None:
        self.h = self.make(h, x[0])


@pytest.mark.parametrize(
    "make",
    [
        lambda h, c: (h, c),
        lambda h, c: [h, c],
        lambda h, c: deque([h, c], maxlen=2),
        lambda h, c: {"h": h, "c": c},
        lambda h, c: OrderedDict(h=h, c=c),
        Pair,
    ],
)
def test_a_new_container_of_states_is_made_at_each_call(make: Callable[[Tensor, Tensor], Any]) -> None:
    fast, twin = run_both(Pairs(make), lambda model: model.h, entries=2)
    before = twin.h
    fast(numbers(T, B, N))
    assert twin.h is not before


class Inside(Cell):
    """The state is inside of a container that is made once."""

    def __init__(self, start: Any, place: Callable[[Any], tuple[Any, Any]]) -> None:
        super().__init__(start)
        self.place = place

    def start(self, x: Tensor) -> Tensor:
        container, key = self.place(self.h)
        return container[key]

    def keep(self, h: Tensor, x: Tensor) -> None:
        container, key = self.place(self.h)
        container[key] = h


@pytest.mark.parametrize(
    ("start", "place"),
    [
        ([torch.zeros(B, N), torch.ones(2)], lambda held: (held, 0)),
        ({"h": torch.zeros(B, N), "size": N}, lambda held: (held, "h")),
        ({"layers": [torch.ones(2), {"h": torch.zeros(B, N)}]}, lambda held: (held["layers"][1], "h")),
    ],
)
def test_a_state_in_a_container_is_replaced_there(start: Any, place: Callable[[Any], tuple[Any, Any]]) -> None:
    model = Inside(start, place)
    fast, twin = run_both(model, lambda model: model.h, entries=1)
    container, kept = place(twin.h)[0], twin.h
    fast(numbers(T, B, N))
    assert place(twin.h)[0] is container
    assert twin.h is kept


def test_a_delay_line_moves_its_tensors_on() -> None:
    class Delay(Cell):
        def start(self, x: Tensor) -> Tensor:
            return self.h[0]

        def keep(self, h: Tensor, x: Tensor) -> None:
            self.h.append(h)

    start = deque((torch.zeros(B, N) + k for k in range(3)), maxlen=3)
    fast, twin = run_both(Delay(start), lambda model: list(model.h), entries=1)
    _, second, third = twin.h
    fast(numbers(T, B, N))
    assert twin.h[0] is second
    assert twin.h[1] is third


def test_one_list_in_two_places_stays_one() -> None:
    class Shared(Cell):
        def __init__(self) -> None:
            super().__init__([torch.zeros(B, N)])
            self.other = self.h

        def start(self, x: Tensor) -> Tensor:
            return self.h[0] + self.other[0]

        def keep(self, h: Tensor, x: Tensor) -> None:
            self.h[0] = h

    model = Shared()
    fast, twin = run_both(model, lambda model: (model.h, model.other), entries=1)
    assert twin.h is twin.other
    for one in (model, twin):
        one.other = list(one.other)
    follow(fast, twin, model, lambda model: (model.h, model.other), calls=2)
    assert twin.h is not twin.other


class Memory:
    """Holds the state for a module, as a plain object."""

    def __init__(self) -> None:
        self.h = torch.zeros(B, N)


def test_a_state_in_another_object_is_rebound_there() -> None:
    class Indirect(Cell):
        def __init__(self) -> None:
            super().__init__(Memory())

        def start(self, x: Tensor) -> Tensor:
            return self.h.h

        def keep(self, h: Tensor, x: Tensor) -> None:
            self.h.h = h

    run_both(Indirect(), lambda model: model.h.h, entries=1)


class Neuron:
    """A plain callable with a state: v_t = v_{t-1} / 2 + x_t."""

    def __init__(self) -> None:
        self.v = torch.zeros(B, N)

    def __call__(self, x: Tensor) -> Tensor:
        self.v = torch.tanh(self.v * 0.5 + x)
        return self.v


def test_a_callable_object_keeps_its_state() -> None:
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.neuron = Neuron()

        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([self.neuron(x_t) for x_t in x])

    run_both(Layer(), lambda model: model.neuron.v, entries=1)


def test_a_variable_of_a_closure_is_rebound() -> None:
    def make() -> tuple[Callable[[Tensor], Tensor], Callable[[], Tensor]]:
        h = torch.zeros(B, N)

        def program(x: Tensor) -> Tensor:
            nonlocal h
            for x_t in x:
                h = torch.tanh(h * 0.5 + x_t)
            return h * 2

        return program, lambda: h

    program, ours = make()
    same, theirs = make()
    fast = compiled(program)
    for _ in range(CALLS):
        x = numbers(T, B, N)
        assert_same(fast(x), same(x))
        assert_same(ours(), theirs())
    assert_emitted(fast)
    assert len(fast.entries) == 1


def test_a_bound_method_keeps_the_state_of_its_object() -> None:
    class Plain:
        def __init__(self) -> None:
            self.h = torch.zeros(B, N)

        def step(self, x: Tensor) -> Tensor:
            for x_t in x:
                self.h = torch.tanh(self.h * 0.5 + x_t)
            return self.h + 1

    one, two = Plain(), Plain()
    fast = compiled(one.step)
    for _ in range(CALLS):
        x = numbers(T, B, N)
        assert_same(fast(x), two.step(x))
        assert_same(one.h, two.h)
    assert_emitted(fast)


def test_a_module_that_is_passed_keeps_its_state() -> None:
    def program(model: nn.Module, x: Tensor) -> Tensor:
        return model(x) + 1

    model = Cell()
    twin = copy.deepcopy(model)
    fast = compiled(program)
    for _ in range(CALLS):
        x = numbers(T, B, N)
        assert_same(fast(twin, x), program(model, x))
        assert_same(twin.h, model.h)
    assert str(fast.schedule) != "original"
    assert fast.entries[-1].calls == CALLS - 2


# Plain values.


def test_a_flag_that_is_set_once_is_set_again_after_a_reset() -> None:
    class Flagged(Cell):
        def __init__(self) -> None:
            super().__init__()
            self.is_first, self.mode = True, "new"

        def start(self, x: Tensor) -> Tensor:
            return torch.zeros(B, N) if self.is_first else self.h

        def keep(self, h: Tensor, x: Tensor) -> None:
            self.h, self.is_first, self.mode = h, False, "running"

    model = Flagged()
    fast, twin = run_both(model, lambda model: (model.h, model.is_first), entries=2)
    assert twin.mode == "running"
    for one in (model, twin):
        one.h, one.is_first, one.mode = None, True, "new"
    follow(fast, twin, model, lambda model: (model.h, model.is_first), calls=3)
    assert twin.mode == "running"
    assert len(fast.entries) == 2


@pytest.mark.parametrize("kind", ["number", "list"])
def test_a_number_that_is_read_and_a_list_that_grows_are_left_to_the_original(kind: str) -> None:
    class Counting(Cell):
        def __init__(self) -> None:
            super().__init__()
            self.calls, self.log = 0, []

        def keep(self, h: Tensor, x: Tensor) -> None:
            self.h = h
            if kind == "number":
                self.calls = (self.calls + 1) % 1000
            else:
                self.log.append(h)

    model = Counting()
    twin = copy.deepcopy(model)
    fast = compiled(twin)
    follow(fast, twin, model, lambda model: (model.h, model.calls, model.log), calls=8)
    assert str(fast.schedule) == "original"
    assert "differs at every call" in fast.report().reason
    assert len(fast.entries) <= 5


def test_a_state_and_a_count_go_together() -> None:
    class Counting(Cell):
        calls = 0

        def keep(self, h: Tensor, x: Tensor) -> None:
            self.h = h
            self.calls += 1

    model = Counting()
    fast, twin = run_both(model, lambda model: (model.h, model.calls), entries=2)
    model.h = twin.h = None
    model.calls = twin.calls = 40
    follow(fast, twin, model, lambda model: (model.h, model.calls))
    assert len(fast.entries) == 3


def test_a_number_that_is_set_to_the_same_one_is_set_once() -> None:
    class Sized(Cell):
        def keep(self, h: Tensor, x: Tensor) -> None:
            self.h, self.length = h, len(x)

    _, twin = run_both(Sized(), lambda model: model.h, entries=2)
    assert twin.length == T


# Calls that go another way.


class Gated(Cell):
    """Takes another branch, and keeps another state, where the first input is negative."""

    def keep(self, h: Tensor, x: Tensor) -> None:
        self.h = h if x[0, 0, 0] > 0 else -h


def test_a_failing_guard_leaves_the_state_as_it_was() -> None:
    model = Gated()
    twin = copy.deepcopy(model)
    fast = compiled(twin)
    for sign in (1, 1, 1, -1, 1, -1, -1, 1):
        x = sign * numbers(T, B, N).abs()
        assert_same(fast(x), model(x))
        assert_same(twin.h, model.h)
    assert_emitted(fast)
    assert len(fast.entries) == 3


def test_a_guard_on_the_state_itself_is_checked() -> None:
    class Wrapping(Cell):
        def start(self, x: Tensor) -> Tensor:
            if self.h is None or self.h.sum() > 0:
                return torch.zeros(B, N)
            return self.h

        def keep(self, h: Tensor, x: Tensor) -> None:
            self.h = h * x[0, 0, 0].sign()

    model = Wrapping()
    twin = copy.deepcopy(model)
    fast = compiled(twin)
    for k in range(8):
        x = (-1) ** k * numbers(T, B, N).abs()
        assert_same(fast(x), model(x))
        assert_same(twin.h, model.h)
    assert_emitted(fast)


@pytest.mark.parametrize("verify", ["always", 2])
@pytest.mark.parametrize("make", [Cell, lambda: Inside([torch.zeros(B, N)], lambda held: (held, 0))])
def test_verification_runs_the_original_from_the_same_state(make: Callable[[], Cell], verify: Any) -> None:
    model = make()
    twin = copy.deepcopy(model)
    fast = compiled(twin, verify=verify)
    follow(fast, twin, model, lambda model: model.h, calls=6)
    assert_emitted(fast)


def test_verification_notices_another_state() -> None:
    model = Cell()
    twin = copy.deepcopy(model)
    fast = compiled(twin, verify="always")
    factors = [1.0]

    def keep(h: Tensor, x: Tensor) -> None:
        twin.h = h * factors[0]

    twin.__dict__["keep"] = keep
    for _ in range(3):
        fast(numbers(T, B, N))
    assert_emitted(fast)
    factors[0] = 2.0
    fast(numbers(T, B, N))
    assert str(fast.schedule) == "original"


def test_the_race_leaves_one_step_of_the_state() -> None:
    model = Cell()
    twin = copy.deepcopy(model)
    fast = compiled(twin, schedule="auto")
    for _ in range(3):
        x = numbers(T, B, N)
        torch.testing.assert_close(fast(x), model(x))
        torch.testing.assert_close(twin.h, model.h)


def test_a_program_without_loops_keeps_its_state_too() -> None:
    class Single(Cell):
        def forward(self, x: Tensor) -> Tensor:
            self.h = x[0] if self.h is None else torch.tanh(self.h + x[0])
            return self.h + 1

    model = Single()
    twin = copy.deepcopy(model)
    fast = compiled(twin)
    follow(fast, twin, model, lambda model: model.h, calls=5)
    assert "no loop was found" in fast.report().reason
    assert len(fast.entries) == 2


def test_other_lengths_find_the_same_state() -> None:
    model = Cell()
    twin = copy.deepcopy(model)
    fast = compiled(twin)
    for length in (5, 7, 9, 5, 7, 9, 11):
        x = numbers(length, B, N)
        assert_same(fast(x), model(x))
        assert_same(twin.h, model.h)
    assert str(fast.schedule) != "original"


def test_random_numbers_and_state_go_together() -> None:
    class Noisy(Cell):
        def start(self, x: Tensor) -> Tensor:
            return torch.rand(B, N) + (0 if self.h is None else self.h)

    model = Noisy()
    twin = copy.deepcopy(model)
    fast = compiled(twin)
    for seed in range(CALLS):
        x = numbers(T, B, N)
        torch.manual_seed(seed)
        expected = model(x)
        torch.manual_seed(seed)
        assert_same(fast(x), expected)
        assert_same(twin.h, model.h)
    assert_emitted(fast)


# Gradients.


def test_a_state_that_carries_a_graph_is_left_to_the_original() -> None:
    model = Cell()
    twin = copy.deepcopy(model)
    fast = compiled(twin)
    with torch.enable_grad():
        for _ in range(3):
            x = numbers(T, B, N)
            assert_same(fast(x), model(x))
            assert twin.h.requires_grad
        assert str(fast.schedule) == "original"
        assert "reads state that wants gradients" in fast.report().reason


def test_a_state_that_carries_a_graph_is_kept_where_the_next_call_does_not_read_it() -> None:
    class Shown(Cell):
        def start(self, x: Tensor) -> Tensor:
            return x.new_zeros(B, N) if self.h is None else self.h.detach()

    model = Shown()
    twin = copy.deepcopy(model)
    fast = compiled(twin)
    with torch.enable_grad():
        for _ in range(CALLS):
            x = numbers(T, B, N)
            for one, called in ((model, model), (twin, fast)):
                one.zero_grad()
                (called(x).square().sum() + one.h.sum()).backward()
            torch.testing.assert_close(twin.h, model.h)
            torch.testing.assert_close(twin.linear.weight.grad, model.linear.weight.grad)
    assert str(fast.schedule) != "original"


def test_a_detached_state_is_kept_in_grad_mode() -> None:
    class Detached(Cell):
        def keep(self, h: Tensor, x: Tensor) -> None:
            self.h = h.detach()

    model = Detached()
    twin = copy.deepcopy(model)
    fast = compiled(twin)
    with torch.enable_grad():
        for _ in range(CALLS):
            x = numbers(T, B, N)
            ours, theirs = fast(x), model(x)
            torch.testing.assert_close(ours, theirs)
            torch.testing.assert_close(twin.h, model.h)
            assert not twin.h.requires_grad
            ours.sum().backward(), theirs.sum().backward()
            torch.testing.assert_close(twin.linear.weight.grad, model.linear.weight.grad)
            model.zero_grad(), twin.zero_grad()
    assert fast.report().status == "emitted", fast.report().reason
    assert fast.report().gradient_check is not None


# Copies.


def test_a_copy_of_the_compiled_object_has_a_state_of_its_own() -> None:
    model = Cell()
    fast, twin = run_both(model, lambda model: model.h, entries=2)
    again = copy.deepcopy(fast)
    other: Any = again.program
    assert other.h is not twin.h
    follow(again, other, copy.deepcopy(model), lambda model: model.h)
    follow(fast, twin, model, lambda model: model.h)
    restored: Any = pickle.loads(pickle.dumps(fast))
    follow(restored, restored.program, copy.deepcopy(model), lambda model: model.h)
    assert_emitted(restored)
