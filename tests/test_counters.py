"""Numbers in which a program counts are after every call what they are with the original."""

import copy
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.runtime.compiled import Compiled
from tests.loops.programs import numbers

B, N, T = 3, 4, 7
CALLS = 4


@pytest.fixture(autouse=True)
def _no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


class Flow(nn.Module):
    """x_{t+1} = x_t + tanh(W x_t) / 10, and how often the right side was evaluated."""

    nfe: Any

    def __init__(self, start: Any = 0) -> None:
        super().__init__()
        self.linear = nn.Linear(N, N)
        self.nfe = start

    def count(self) -> None:
        self.nfe += 1

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(T):
            self.count()
            x = x + torch.tanh(self.linear(x)) / 10
        return x


def compiled(program: Callable[..., Any], **options: Any) -> Compiled:
    return fxsolve.compile(program, **{"schedule": "gs", "backend": "eager", **options})


def nfe_of(one: Any) -> Any:
    return one.nfe


def follow(fast: Any, twin: Any, model: Any, calls: int = CALLS, count: Callable[[Any], Any] = nfe_of) -> None:
    """Call both in turn: equal results, and equal counts of the same types, after every call."""
    for _ in range(calls):
        x = numbers(B, N)
        torch.testing.assert_close(fast(x), model(x.clone()), rtol=0, atol=0)
        ours, theirs = count(twin), count(model)
        assert repr(ours) == repr(theirs)


def run_both(model: Any, entries: int = 1, count: Callable[[Any], Any] = nfe_of) -> tuple[Compiled, Any]:
    """A compiled copy of `model` that has followed it and runs by itself, and the copy."""
    twin = copy.deepcopy(model)
    fast = compiled(twin)
    follow(fast, twin, model, count=count)
    assert str(fast.schedule) != "original", fast.report().reason
    assert len(fast.entries) == entries
    assert fast.entries[-1].calls == CALLS - entries
    return fast, twin


def left_alone(model: Any, count: Callable[[Any], Any] = nfe_of) -> str:
    """Why the original runs, with equal counts; classes are as they were."""
    before = dict(vars(type(model)))
    twin = copy.deepcopy(model)
    fast = compiled(twin)
    follow(fast, twin, model, count=count)
    assert str(fast.schedule) == "original"
    assert dict(vars(type(model))) == before
    return fast.report().reason


# What is added.


@pytest.mark.parametrize("start", [0, 5, -3, 10**30, 0.0, 0.1, -0.0])
def test_a_number_of_any_kind_is_counted_on(start: Any) -> None:
    model = Flow(start)
    fast, twin = run_both(model)
    assert any("adds 7 to Flow.nfe after each run" in note for note in fast.report().notes)
    for value in (type(start)(100), start):
        model.nfe = twin.nfe = value
        follow(fast, twin, model, calls=2)
    assert len(fast.entries) == 1


@pytest.mark.parametrize("start", [float("inf"), 1e16, float("nan")])
def test_a_number_that_is_too_large_to_count_on(start: float) -> None:
    model = Flow(start)
    twin = copy.deepcopy(model)
    fast = compiled(twin)
    for value in (start, 5.0, start):
        model.nfe = twin.nfe = value
        follow(fast, twin, model)
    assert str(fast.schedule) != "original"


def test_another_type_of_number_is_another_signature() -> None:
    model = Flow()
    fast, twin = run_both(model)
    for value in (0.5, True, 0):
        model.nfe = twin.nfe = value
        follow(fast, twin, model, calls=2)
    assert len(fast.entries) == 3


class ByHand(Flow):
    def count(self) -> None:
        self.nfe = self.nfe + 1


class Backwards(Flow):
    def count(self) -> None:
        self.nfe = self.nfe - 3


class Fractions(Flow):
    def count(self) -> None:
        self.nfe += 0.1
        self.nfe -= 0.3


class Sizes(Flow):
    def forward(self, x: Tensor) -> Tensor:
        self.nfe += len(x)
        self.nfe = self.nfe + x.shape[0] * 2
        self.nfe += sum(x.size(), start=1)
        self.nfe -= max(T, -self.linear.in_features)
        return super().forward(x)


class Nested(Flow):
    """What is counted inside of the added number is lost, as Python has it."""

    def inner(self) -> int:
        self.nfe += 5
        return 2

    def count(self) -> None:
        self.nfe += self.inner()


@pytest.mark.parametrize("kind", [ByHand, Backwards, Sizes, Nested])
def test_forms_of_counting(kind: type[Flow]) -> None:
    model = kind(3)
    fast, twin = run_both(model)
    model.nfe = twin.nfe = 1000
    follow(fast, twin, model)
    assert len(fast.entries) == 1


@pytest.mark.parametrize("start", [0, 0.0, 1e8, -7.3, 3])
def test_fractions_are_added_in_the_order_of_the_program(start: Any) -> None:
    model = Fractions(start)
    fast, twin = run_both(model, entries=2 if start in (0, 3) and type(start) is int else 1)
    model.nfe = twin.nfe = 123.456
    follow(fast, twin, model)


def test_a_sum_that_is_added_to_again_is_read() -> None:
    class Summed(Flow):
        def count(self) -> None:
            self.nfe = self.nfe + 1 + 2

    assert "Summed.nfe is read at " in left_alone(Summed())


def test_a_count_that_depends_on_a_value_is_that_of_its_variant() -> None:
    class Gated(Flow):
        def forward(self, x: Tensor) -> Tensor:
            if x[0, 0] > 0:
                self.nfe += 100
            self.nfe += int(x.argmax()) % 2
            return super().forward(x)

    model = Gated()
    twin = copy.deepcopy(model)
    fast = compiled(twin)
    for sign in (1, 1, -1, -1, 1, -1, 1, 1):
        x = sign * torch.arange(1.0, 1 + B * N).reshape(B, N)
        torch.testing.assert_close(fast(x), model(x), rtol=0, atol=0)
        assert twin.nfe == model.nfe
    assert str(fast.schedule) != "original"
    assert len(fast.entries) == 2


class Long(Flow):
    """A recurrence over x, which counts its steps, and `extra` besides."""

    extra: Callable[[int], int] = staticmethod(lambda length: 0)

    def forward(self, x: Tensor) -> Tensor:
        h = x[0]
        self.nfe += self.extra(len(x))
        for x_t in x:
            self.nfe += 1
            h = torch.tanh(self.linear(h) + x_t)
        return h


def follow_lengths(fast: Any, twin: Any, model: Any, lengths: tuple[int, ...]) -> None:
    for length in lengths:
        x = numbers(length, B, N)
        torch.testing.assert_close(fast(x), model(x.clone()))
        assert twin.nfe == model.nfe


@pytest.mark.parametrize("extra", [lambda length: 0, lambda length: length**2, lambda length: 5 if length == 20 else 1])
@pytest.mark.parametrize("grad", [False, True])
def test_every_length_counts_by_itself(extra: Callable[[int], int], grad: bool) -> None:
    model = Long()
    model.__dict__["extra"] = extra
    twin = copy.deepcopy(model)
    fast = compiled(twin)
    with torch.set_grad_enabled(grad):
        follow_lengths(fast, twin, model, (6, 8, 10))
        assert any("not recorded: recordings at the lengths 6 and 8" in note for note in fast.report().notes)
        follow_lengths(fast, twin, model, (12, 20, 12, 6, 8, 10))
        model.nfe = twin.nfe = 1000
        follow_lengths(fast, twin, model, (6, 20, 21, 20))
    assert str(fast.schedule) != "original"


def test_a_declared_length_counts_by_itself() -> None:
    model = Long(2)
    twin = copy.deepcopy(model)
    fast = compiled(twin, dynamic_shapes=({0: torch.export.Dim("time")},))
    follow_lengths(fast, twin, model, (60, 61, 60, 90))
    assert any("not recorded: recordings at the lengths 12 and 20" in entry for entry in fast.report().notes)
    assert str(fast.schedule) != "original"


def test_a_number_that_is_read_at_one_length_is_read() -> None:
    class Late(Long):
        def forward(self, x: Tensor) -> Tensor:
            h = super().forward(x)
            return h * self.nfe if len(x) == 12 else h

    model = Late()
    twin = copy.deepcopy(model)
    fast = compiled(twin)
    follow_lengths(fast, twin, model, (6, 8, 10, 11, 12, 6, 12, 12, 14))
    assert str(fast.schedule) != "original"


def test_a_number_that_is_read_at_one_length_only_and_counted_nowhere_there_is_read() -> None:
    class Late(Long):
        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                return super().forward(x)
            h = x[0]
            for x_t in x:
                h = torch.tanh(self.linear(h) + x_t)
            return h * (2 if len(x) == 12 and self.nfe > 50 else 1)

    model = Late()
    twin = copy.deepcopy(model)
    fast = compiled(twin)
    follow_lengths(fast, twin, model, (6, 6))
    for one in (model, twin):
        one.eval()
    follow_lengths(fast, twin, model, (6, 8, 10, 12, 6))
    model.nfe = twin.nfe = 100
    follow_lengths(fast, twin, model, (12, 6, 8))
    model.nfe = twin.nfe = 0
    follow_lengths(fast, twin, model, (12, 6, 8))
    assert str(fast.schedule) != "original"


def test_a_run_at_a_new_length_that_is_of_no_use_counts_nothing() -> None:
    class Other(Long):
        def forward(self, x: Tensor) -> Tensor:
            h = super().forward(x)
            return h.sin() if len(x) == 12 else h

    model = Other()
    twin = copy.deepcopy(model)
    fast = compiled(twin)
    follow_lengths(fast, twin, model, (6, 8, 10, 12, 12, 6))
    assert str(fast.schedule) != "original"


# Resets.


def test_a_reset_from_outside_needs_no_recording() -> None:
    model = Flow()
    fast, twin = run_both(model)
    for value in (0, 3, 0):
        model.nfe = value
        outside: Any = fast
        outside.nfe = value
        follow(fast, twin, model, calls=2)
    assert len(fast.entries) == 1


def test_a_count_that_the_program_starts_itself_is_set_and_may_be_read() -> None:
    class Starting(Flow):
        def forward(self, x: Tensor) -> Tensor:
            self.nfe = 0
            x = super().forward(x) * self.nfe
            if self.nfe > 5:
                self.last = self.nfe
            return x

    model = Starting(4)
    fast, twin = run_both(model, count=lambda one: (one.nfe, getattr(one, "last", None)), entries=2)
    for value in (0, T, -1):
        model.nfe = twin.nfe = value
        follow(fast, twin, model)
    assert len(fast.entries) == 2


def test_a_number_that_is_replaced_after_it_was_counted_on() -> None:
    class Ending(Flow):
        def forward(self, x: Tensor) -> Tensor:
            x = super().forward(x)
            self.nfe = -1
            self.nfe += 3
            return x

    model = Ending(8)
    fast, twin = run_both(model)
    model.nfe = twin.nfe = 50
    follow(fast, twin, model)
    assert len(fast.entries) == 1


def test_a_number_that_is_deleted() -> None:
    class Deleting(Flow):
        def forward(self, x: Tensor) -> Tensor:
            x = super().forward(x)
            del self.nfe
            self.nfe = 2
            self.nfe += 1
            return x

    run_both(Deleting(7))


def test_a_count_that_goes_back_to_where_it_was() -> None:
    class Depth(Flow):
        """How deep a call is inside of others, and how many there were."""

        def __init__(self) -> None:
            super().__init__()
            self.depth = 0.1

        def count(self) -> None:
            self.nfe += 1
            self.depth += 1
            self.depth -= 1

    model = Depth()
    fast, twin = run_both(model, count=lambda one: (one.nfe, one.depth))
    model.depth = twin.depth = 0.7
    follow(fast, twin, model, count=lambda one: (one.nfe, one.depth))


# What reads the number.


class Reads(Flow):
    """Counts, and does something else with the number as well."""

    other: Any = None

    def __init__(self, use: Callable[["Reads", Tensor], Any]) -> None:
        super().__init__(3)
        self.use = use

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        used = self.use(self, x)
        return x * used if isinstance(used, int | float) else x


def _catches(model: Reads, x: Tensor) -> Any:
    try:
        model.nfe += "text"
    except TypeError:
        return 2


def _moves(model: Reads, x: Tensor) -> None:
    other = Flow()
    other.nfe = model.nfe + 1


def _unpacks(model: Reads, x: Tensor) -> Any:
    a, b = model.nfe, 2
    return a * b


def _stores_item(model: Reads, x: Tensor) -> Any:
    held = [0]
    held[0] = model.nfe + 1
    return held[0]


def _keeps_sum(model: Reads, x: Tensor) -> Any:
    model.nfe = total = model.nfe + 1
    return total


def _walrus(model: Reads, x: Tensor) -> Any:
    model.nfe = (total := model.nfe + 1)
    return total


def _copies(model: Reads, x: Tensor) -> Any:
    return copy.copy(model).nfe


def _copies_and_counts(model: Reads, x: Tensor) -> Any:
    one = copy.copy(model)
    one.nfe += 1
    return 0.0 if vars(one)["nfe"] % 2 else 1.0


def _by_name(model: Reads, x: Tensor) -> Any:
    name = "nfe"
    setattr(model, name, getattr(model, name) + 1)


def _in_a_generator(model: Reads, x: Tensor) -> Any:
    def steps() -> Iterator[int]:
        for _ in range(2):
            yield model.nfe

    return sum(steps())


def _matches(model: Reads, x: Tensor) -> Any:
    match model:
        case Flow(nfe=int(count)):
            return count
    return 1


USES: list[Callable[[Reads, Tensor], Any]] = [
    lambda model, x: model.nfe,
    lambda model, x: 2 if model.nfe > 12 else 3,
    lambda model, x: 2 if model.nfe else 3,
    lambda model, x: f"{model.nfe}",
    lambda model, x: len(range(model.nfe)),
    lambda model, x: [0, 1, 2][model.nfe % 3],
    lambda model, x: float(torch.ones(()) * model.nfe),
    lambda model, x: float(x.mul(model.nfe).sum()),
    lambda model, x: torch.zeros(model.nfe).shape[0],
    lambda model, x: 1 + model.nfe,
    lambda model, x: getattr(model, "nfe"),  # noqa: B009
    lambda model, x: hasattr(model, "nfe") and 2,
    lambda model, x: (model.nfe, model.nfe)[0],
    lambda model, x: {model.nfe: 1}.get(10, 2),
    lambda model, x: 2 if type(model.nfe) is int else 3,
    lambda model, x: isinstance(model.nfe, int) and 2,
    _catches, _moves, _unpacks, _stores_item, _keeps_sum, _walrus, _copies, _copies_and_counts, _by_name,
    _in_a_generator, _matches,
]  # fmt: skip


@pytest.mark.parametrize("use", USES, ids=range(len(USES)))
def test_a_program_that_reads_the_number_is_left_alone(use: Callable[[Reads, Tensor], Any]) -> None:
    assert "Reads.nfe " in left_alone(Reads(use))


@pytest.mark.parametrize(
    "change", [lambda n: n * 2, lambda n: n // 2 + 1, lambda n: min(n + 1, 10), lambda n: n % 5 + 1, lambda n: 1 - n]
)
def test_a_number_that_is_changed_in_another_way_is_what_it_is_with_the_original(change: Callable[[Any], Any]) -> None:
    class Changing(Flow):
        def count(self) -> None:
            self.nfe = change(self.nfe)

    model = Changing(3)
    twin = copy.deepcopy(model)
    fast = compiled(twin)
    follow(fast, twin, model, calls=2 * CALLS)
    model.nfe = twin.nfe = 100
    follow(fast, twin, model, calls=2 * CALLS)


# Other ways to reach it.


class Around(Flow):
    """Reads the number through the attributes of the object."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * vars(self)["nfe"]


class Guarded(Flow):
    """Looks at what is set."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "nfe" and value > 10:
            value = 0
        super().__setattr__(name, value)


class Logging(Flow):
    """Looks at what is read."""

    def __getattribute__(self, name: str) -> Any:
        return min(super().__getattribute__(name), 1000) if name == "nfe" else super().__getattribute__(name)


class Property(Flow):
    """Keeps the number under another name."""

    held: Any = 0

    @property
    def nfe(self) -> Any:
        return self.held

    @nfe.setter
    def nfe(self, value: Any) -> None:
        self.held = value


@pytest.mark.parametrize("kind", [Around, Guarded, Logging, Property])
def test_a_class_with_ways_of_its_own_is_left_alone(kind: type[Flow]) -> None:
    left_alone(kind(1))


def test_a_class_attribute_is_the_number_to_start_from() -> None:
    class Default(nn.Module):
        nfe: int = 0

        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(N, N)

        forward, count = Flow.forward, Flow.count

    model = Default()
    fast, twin = run_both(model, entries=2)
    assert Default.nfe == 0
    del model.nfe, twin.nfe
    follow(fast, twin, model)
    assert len(fast.entries) == 2


def test_classes_are_as_they_were_after_a_recording() -> None:
    class Failing(Flow):
        def forward(self, x: Tensor) -> Tensor:
            x = super().forward(x)
            if len(x) == 1:
                raise ValueError("one is too few")
            return x

    before = dict(vars(Failing))
    model = Failing()
    fast = compiled(model)
    with pytest.raises(ValueError, match="too few"):
        fast(numbers(1, N))
    assert dict(vars(Failing)) == before
    assert model.nfe == T
    fast(numbers(B, N))
    assert dict(vars(Failing)) == before
    assert str(fast.schedule) != "original"


def test_two_modules_count_apart() -> None:
    class Two(nn.Module):
        calls: Any

        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList([Flow(1), Flow(20)])
            self.calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return self.parts[1](self.parts[0](x).sin().exp())

    def count(model: Any) -> Any:
        return model.calls, [part.nfe for part in model.parts]

    model: Any = Two()
    twin = copy.deepcopy(model)
    fast = compiled(twin)
    follow(fast, twin, model, count=count)
    model.parts[1].nfe = twin.parts[1].nfe = 0
    follow(fast, twin, model, count=count)
    assert str(fast.schedule) != "original", fast.report().reason
    assert len(fast.entries) == 1
    assert any("adds 1 to Two.calls, 7 to Flow parts.0.nfe, 7 to" in note for note in fast.report().notes)


def test_the_count_of_another_object_of_the_class_may_be_read() -> None:
    class Reading(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.flow, self.settings = Flow(), Flow(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.flow(x) * self.settings.nfe

    model = Reading()
    fast, twin = run_both(model, count=lambda one: one.flow.nfe)
    model.settings.nfe = twin.settings.nfe = 4
    follow(fast, twin, model, count=lambda one: one.flow.nfe)
    assert len(fast.entries) == 2


def test_one_module_that_adds_the_count_of_another_reads_it() -> None:
    class Summing(Flow):
        def __init__(self) -> None:
            super().__init__()
            self.flow = Flow()

        def forward(self, x: Tensor) -> Tensor:
            x = self.flow(x)
            self.nfe += self.flow.nfe
            return super().forward(x)

    assert "Flow flow.nfe is read at" in left_alone(Summing(), lambda one: (one.nfe, one.flow.nfe))


@dataclass
class Statistics:
    steps: int = 0
    seconds: float = 0.0


def test_an_object_that_holds_counts() -> None:
    class Measured(Flow):
        def __init__(self) -> None:
            super().__init__()
            self.statistics = Statistics()

        def count(self) -> None:
            self.statistics.steps += 1
            self.statistics.seconds = self.statistics.seconds + 0.1

    model = Measured()
    fast, twin = run_both(model, count=lambda one: one.statistics)
    model.statistics = twin.statistics = Statistics(3, 0.7)
    twin.statistics = copy.copy(model.statistics)
    follow(fast, twin, model, count=lambda one: one.statistics)
    assert str(fast.schedule) != "original"


def test_attributes_of_another_object_that_are_read_together() -> None:
    class Together(Flow):
        def __init__(self) -> None:
            super().__init__()
            self.statistics = Statistics()

        def forward(self, x: Tensor) -> Tensor:
            self.statistics.steps += 1
            return super().forward(x) * sum(self.statistics.__dict__.values())

    reason = left_alone(Together(), lambda one: one.statistics)
    assert "Together.forward may read it by the __dict__ of its object" in reason


class Plain:
    """A function with a count, as a plain object."""

    def __init__(self) -> None:
        self.nfe = 0

    def __call__(self, x: Tensor) -> Tensor:
        for _ in range(T):
            self.nfe += 1
            x = x + torch.tanh(x) / 10
        return x

    def solve(self, x: Tensor) -> Tensor:
        return self(x) * 2


@pytest.mark.parametrize("of", [lambda one: one, lambda one: one.solve], ids=["object", "method"])
def test_a_program_that_is_no_module(of: Callable[[Plain], Any]) -> None:
    twin, model = Plain(), Plain()
    fast = compiled(of(twin))
    follow(fast, twin, of(model), count=lambda one: getattr(one, "__self__", one).nfe)
    assert str(fast.schedule) != "original", fast.report().reason
    assert len(fast.entries) == 1


@pytest.mark.parametrize("kind", [Plain, Flow])
def test_a_function_that_is_passed(kind: type) -> None:
    def program(function: Any, x: Tensor) -> Tensor:
        return function(x) + 1

    model = kind()
    twin = copy.deepcopy(model)
    fast = compiled(program)
    for _ in range(CALLS):
        x = numbers(B, N)
        torch.testing.assert_close(fast(twin, x), program(model, x), rtol=0, atol=0)
        assert twin.nfe == model.nfe
    assert str(fast.schedule) != "original", fast.report().reason


def test_a_hook_counts_on_the_module_that_it_is_given() -> None:
    def hook(module: Any, args: Any, result: Any) -> None:
        module.calls += 1

    model = Flow()
    model.linear.__dict__["calls"] = 0
    model.linear.register_forward_hook(hook)
    run_both(model, count=lambda one: (one.nfe, one.linear.calls))


def test_a_variable_of_a_closure_is_left_to_the_original() -> None:
    def make() -> tuple[Callable[[Tensor], Tensor], Callable[[], int]]:
        calls = 0

        def program(x: Tensor) -> Tensor:
            nonlocal calls
            for _ in range(T):
                calls += 1
                x = torch.tanh(x)
            return x

        return program, lambda: calls

    (program, ours), (same, theirs) = make(), make()
    fast = compiled(program)
    for _ in range(CALLS):
        x = numbers(B, N)
        torch.testing.assert_close(fast(x), same(x), rtol=0, atol=0)
        assert ours() == theirs()
    assert str(fast.schedule) == "original"


def test_a_compiled_module_inside_of_a_program() -> None:
    class Outer(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x) * 2

    flow = Flow()
    model, twin = Outer(flow), Outer(fxsolve.compile(copy.deepcopy(flow)))  # pyright: ignore[reportArgumentType]
    follow(compiled(twin), twin, model, count=lambda one: one.inner.nfe)


# At run time.


def test_a_failing_guard_counts_once() -> None:
    class Gated(Flow):
        def forward(self, x: Tensor) -> Tensor:
            x = super().forward(x)
            self.nfe += 1
            return x if x[0, 0] > 0 else -x

    model = Gated()
    twin = copy.deepcopy(model)
    fast = compiled(twin)
    for sign in (1, 1, -1, 1, -1, -1):
        x = sign * numbers(B, N).abs()
        torch.testing.assert_close(fast(x), model(x), rtol=0, atol=0)
        assert twin.nfe == model.nfe
    assert str(fast.schedule) != "original"


@pytest.mark.parametrize("verify", ["always", 2])
def test_verification_counts_once(verify: Any) -> None:
    model = Flow()
    twin = copy.deepcopy(model)
    fast = compiled(twin, verify=verify)
    follow(fast, twin, model, calls=6)
    assert str(fast.schedule) != "original"


def test_verification_notices_another_count(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = compiled(model := Flow(), verify="always")
    for _ in range(3):
        fast(numbers(B, N))
    assert str(fast.schedule) != "original"

    def count(self: Any) -> None:
        self.nfe += 2

    monkeypatch.setattr(Flow, "count", count)
    fast(numbers(B, N))
    assert str(fast.schedule) == "original"
    assert model.nfe == 3 * T + 2 * T


def test_the_race_counts_nothing() -> None:
    model = Flow()
    twin = copy.deepcopy(model)
    fast = compiled(twin, schedule="auto")
    for _ in range(CALLS):
        x = numbers(B, N)
        torch.testing.assert_close(fast(x), model(x))
        assert twin.nfe == model.nfe


def test_copies_count_apart() -> None:
    model = Flow()
    fast, twin = run_both(model)
    again: Any = copy.deepcopy(fast)
    restored: Any = pickle.loads(pickle.dumps(fast))
    for one in (again, restored):
        follow(one, one.program, copy.deepcopy(model))
        assert str(one.schedule) != "original"
    follow(fast, twin, model)


def test_threads_count_together() -> None:
    model = Flow()
    fast = compiled(model)
    x = numbers(B, N)
    for _ in range(2):
        fast(x)

    def work() -> None:
        with torch.no_grad():
            for _ in range(50):
                fast(x)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(interval)
    assert model.nfe == T * 202
    assert len(fast.entries) == 1


def test_a_number_that_another_thread_uses_is_left_to_the_original() -> None:
    class Threaded(Flow):
        def forward(self, x: Tensor) -> Tensor:
            thread = threading.Thread(target=self.count)
            thread.start()
            thread.join()
            return super().forward(x)

    assert "Threaded.nfe is used by another thread" in left_alone(Threaded())


def test_two_programs_of_one_class_are_recorded_in_two_threads() -> None:
    models = [Flow(k) for k in range(4)]
    fast = [compiled(model) for model in models]
    x = numbers(B, N)

    def work(one: Compiled) -> None:
        with torch.no_grad():
            for _ in range(3):
                one(x)

    threads = [threading.Thread(target=work, args=(one,)) for one in fast]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [model.nfe for model in models] == [k + 3 * T for k in range(4)]
    assert [str(one.schedule) == "original" for one in fast] == [False] * 4
    assert "nfe" not in vars(Flow)


# Gradients.


def test_gradients_count_nothing() -> None:
    model = Flow()
    twin = copy.deepcopy(model)
    fast = compiled(twin)
    with torch.enable_grad():
        for _ in range(CALLS):
            x = numbers(B, N)
            for one, called in ((model, model), (twin, fast)):
                one.zero_grad()
                called(x).square().sum().backward()
            torch.testing.assert_close(twin.linear.weight.grad, model.linear.weight.grad)
            assert twin.nfe == model.nfe
    assert fast.report().gradient_check is not None
    assert len(fast.entries) == 1


def test_second_derivatives_count_nothing() -> None:
    model = Flow()
    twin = copy.deepcopy(model)
    fast = compiled(twin)
    with torch.enable_grad():
        for _ in range(CALLS):
            found = []
            for called in (model, fast):
                x = numbers(B, N).requires_grad_()
                (gradient,) = torch.autograd.grad(called(x).square().sum(), x, create_graph=True)
                found.append(torch.autograd.grad(gradient.square().sum(), x)[0])
                x.grad = None
            torch.testing.assert_close(*found)
            assert twin.nfe == model.nfe
    assert str(fast.schedule) != "original"


def test_a_count_in_the_backward_pass_is_left_to_the_original() -> None:
    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, model: Any) -> Tensor:  # pyright: ignore
            ctx.model = model
            return x * 2

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Any:  # pyright: ignore
            ctx.model.nfe += 1
            return gradient * 2, None

    class Adjoint(Flow):
        def forward(self, x: Tensor) -> Tensor:
            return Twice.apply(super().forward(x), self)  # pyright: ignore

    model = Adjoint()
    twin = copy.deepcopy(model)
    fast = compiled(twin)
    with torch.enable_grad():
        for _ in range(CALLS):
            x = numbers(B, N)
            for called in (model, fast):
                called(x).sum().backward()
            assert twin.nfe == model.nfe
    assert "the backward pass changes Adjoint.nfe" in fast.report().reason


def test_a_number_that_only_the_backward_pass_reads_is_read() -> None:
    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, model: Any) -> Tensor:  # pyright: ignore
            ctx.model = model
            return x * 2

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Any:  # pyright: ignore
            return gradient * ctx.model.nfe, None

    class Reading(Flow):
        def forward(self, x: Tensor) -> Tensor:
            return Scaled.apply(super().forward(x), self)  # pyright: ignore

    model = Reading()
    twin = copy.deepcopy(model)
    fast = compiled(twin)
    with torch.enable_grad():
        for _ in range(CALLS):
            found = []
            for called in (model, fast):
                x = numbers(B, N).requires_grad_()
                (gradient,) = torch.autograd.grad(called(x).sum(), x)
                found.append(gradient)
            torch.testing.assert_close(*found)
            assert twin.nfe == model.nfe
    assert "Reading.nfe is read at" in fast.report().reason


def peek(one: nn.Module) -> int:
    return vars(one)["nfe"]


def scaled(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def wrapper(self: Any, x: Tensor) -> Tensor:
        return forward(self, x) * self.__dict__["nfe"]

    return wrapper


class Peeks(Flow):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * peek(self)


class Wrapped(Flow):
    @scaled
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


class Pickles(Flow):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.__getstate__()["nfe"]


@pytest.mark.parametrize("kind", [Peeks, Wrapped, Pickles])
def test_a_number_that_a_helper_reads_around_its_attribute_is_left_to_the_original(kind: type[Flow]) -> None:
    model = kind()
    twin = copy.deepcopy(model)
    fast = compiled(twin)
    follow(fast, twin, model)
    assert "may read it by the __dict__ of its object" in fast.report().reason


def test_a_number_that_comes_from_a_clock_is_left_to_the_original() -> None:
    class Timed(Flow):
        def forward(self, x: Tensor) -> Tensor:
            begin = time.perf_counter_ns()
            x = super().forward(x)
            self.nfe += time.perf_counter_ns() - begin
            return x

    fast = compiled(Timed())
    fast(numbers(B, N))
    assert "changes Timed.nfe in another way when it runs again" in fast.report().reason


def test_a_number_that_is_set_by_a_clock_is_left_to_the_original() -> None:
    class Stamped(Flow):
        def forward(self, x: Tensor) -> Tensor:
            self.nfe = time.time()
            return x + 1

    model = Stamped(0.0)
    fast = compiled(model)
    fast(numbers(B, N))
    before = model.nfe
    time.sleep(0.01)
    fast(numbers(B, N))
    assert model.nfe > before
