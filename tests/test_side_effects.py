"""Programs that write into tensors of the caller or of the model leave behind what the original does, bit for bit."""

import copy
import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.runtime.compiled import Compiled
from fxsolve.runtime.gradients import Original
from tests.loops.programs import numbers

B, N, T = 3, 4, 7
CALLS = 4


def compiled(program: Callable[..., Any], **options: Any) -> Compiled:
    return fxsolve.compile(program, **{"schedule": "gs", "backend": "eager", **options})


def assert_emitted(fast: Compiled, *lengths: int) -> None:
    assert str(fast.schedule) != "original", fast.report().reason
    assert sorted(loop.length for loop in fast.report().loops) == sorted(lengths)


def assert_left_alone(fast: Compiled, reason: str) -> None:
    assert str(fast.schedule) == "original"
    assert reason in fast.report().reason


def assert_same(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


def run_both(model: nn.Module, inputs: Callable[[], tuple[Any, ...]], *lengths: int, **options: Any) -> Compiled:
    """Call a model and a compiled copy of it in turn: equal results, arguments and states after every call."""
    twin = copy.deepcopy(model)
    fast = compiled(twin, **options)
    for _ in range(CALLS):
        args = inputs()
        given = copy.deepcopy(args)
        torch.manual_seed(1)
        expected = model(*args)
        torch.manual_seed(1)
        assert_same(fast(*given), expected)
        assert_same(given, args)
        assert_same(dict(twin.state_dict()), dict(model.state_dict()))
    assert_emitted(fast, *lengths)
    return fast


def step(h: Tensor, x: Tensor) -> Tensor:
    return torch.tanh(h * 0.5 + x)


class Program(nn.Module):
    """A function as a model with a buffer `state` of shape (B, N)."""

    state: Tensor

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.register_buffer("state", numbers(B, N))

    def forward(self, *args: Any) -> Any:
        return self.function(self, *args)


# Writes into inputs.


def add_in_place(model: Program, x: Tensor) -> Tensor:
    for _ in range(T):
        x.mul_(0.5).add_(1)
    return x.sum()


def write_columns(model: Program, x: Tensor) -> Tensor:
    for i in range(1, N):
        x[:, i] = torch.sin(x[:, i - 1]) + x[:, i]
    return x * 2


def write_rows_of_a_view(model: Program, x: Tensor) -> Tensor:
    turned = x.t()
    for i in range(1, N):
        turned[i].copy_(torch.sin(turned[i - 1]) + 1)
    return turned.sum(0)


def write_through_detach(model: Program, x: Tensor) -> Tensor:
    h = x.clone()
    for _ in range(T):
        h = step(h, h)
    x.detach().copy_(h)
    return h


def draw_in_place(model: Program, x: Tensor) -> Tensor:
    for _ in range(T):
        x.add_(torch.rand(B, N)).mul_(0.5)
    x[0].uniform_()
    return x.sin()


def masked_in_place(model: Program, x: Tensor) -> Tensor:
    for _ in range(T):
        x[x > 1] = 0.25
        x += 0.3
    return x.sum(0)


@pytest.mark.parametrize(
    ("program", "length"),
    [
        (add_in_place, T),
        (write_columns, N - 1),
        (write_rows_of_a_view, N - 1),
        (write_through_detach, T),
        (draw_in_place, T),
        (masked_in_place, T),
    ],
)
def test_writes_into_an_input_are_made_again(program: Callable[..., Any], length: int) -> None:
    fast = run_both(Program(program), lambda: (numbers(B, N),), length)
    assert any("writes new values into input 0" in note for note in fast.report().notes)


def test_writes_are_made_again_in_inference_mode() -> None:
    with torch.inference_mode():
        run_both(Program(add_in_place), lambda: (numbers(B, N),), T)


def test_writes_into_an_input_with_other_strides_are_made_again() -> None:
    for layout in (lambda: numbers(N, B).t(), lambda: numbers(2 * B, N)[B:]):
        run_both(Program(add_in_place), lambda make=layout: (make(),), T)


def test_a_buffer_given_by_the_caller_is_filled() -> None:
    def fill(model: Program, x: Tensor, out: Tensor) -> Tensor:
        h = torch.zeros(B, N)
        for t in range(T):
            h = step(h, x[t])
            out[t] = h
        return h

    run_both(Program(fill), lambda: (numbers(T, B, N), numbers(T, B, N)), T)


def test_out_arguments_are_filled() -> None:
    def fill(model: Program, x: Tensor, out: Tensor) -> Tensor:
        h = x
        for _ in range(T):
            h = step(h, x)
        torch.add(h, 1, out=out)
        return torch.mul(h, 2, out=model.state)

    run_both(Program(fill), lambda: (numbers(B, N), numbers(B, N)), T)


def test_an_input_of_two_tensors_is_written_into_as_two() -> None:
    def exchange(model: Program, pair: tuple[Tensor, Tensor], x: Tensor) -> Tensor:
        h, c = pair
        for _ in range(T):
            c.mul_(0.5).add_(x)
            h.copy_(torch.tanh(c + h))
        return h + c

    run_both(Program(exchange), lambda: ((numbers(B, N), numbers(B, N)), numbers(B, N)), T)


def test_a_tensor_that_is_passed_twice_is_written_into_once() -> None:
    def write(x: Tensor, y: Tensor) -> Tensor:
        for _ in range(T):
            x.mul_(0.5).add_(1)
        return x + y

    fast = compiled(write)
    for _ in range(CALLS):
        x = numbers(B, N)
        z = x.clone()
        assert_same(fast(z, z), write(x, x))
        assert_same(z, x)
    assert_emitted(fast, T)


def test_inputs_of_many_types_are_written_into() -> None:
    for dtype in (torch.float64, torch.bfloat16, torch.complex64, torch.int64):
        run_both(Program(add_exact), lambda dtype=dtype: (numbers(B, N).mul(8).to(dtype),), T)


def add_exact(model: Program, x: Tensor) -> Tensor:
    for _ in range(T):
        x.mul_(2).add_(1)
    return x + 1


# Writes into the state of a model.


class Hidden(nn.Module):
    """A recurrent net that keeps its hidden state in a buffer between calls."""

    h: Tensor
    average: Tensor
    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(N, N)
        self.register_buffer("h", torch.zeros(B, N))
        self.register_buffer("average", torch.zeros(B, N))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        h, states = self.h, []
        for t in range(x.shape[0]):
            h = step(h, self.read(x[t]))
            self.average.mul_(0.9).add_(h, alpha=0.1)
            states.append(h)
        self.h.copy_(h)
        self.calls += 1
        return torch.stack(states)


@torch.no_grad()
def test_hidden_state_and_averages_in_buffers_go_on_from_call_to_call() -> None:
    fast = run_both(Hidden(), lambda: (numbers(T, B, N),), T, T)
    (note,) = [note for note in fast.report().notes if "writes new values" in note]
    assert all(name in note for name in ("h", "average", "calls"))


@torch.no_grad()
@pytest.mark.parametrize("schedule", ["auto", "jacobi"])
def test_state_evolves_under_any_schedule(schedule: str) -> None:
    model, x = Hidden(), [numbers(T, B, N) for _ in range(CALLS)]
    twin = copy.deepcopy(model)
    fast = compiled(twin, schedule=schedule)
    for x_k in x:
        torch.testing.assert_close(fast(x_k), model(x_k))
        torch.testing.assert_close(dict(twin.state_dict()), dict(model.state_dict()))
    assert int(twin.calls) == CALLS
    if schedule == "jacobi":
        assert "jacobi" in str(fast.schedule)


class Normalized(nn.Module):
    """A recurrent net with batch normalization in its loop."""

    def __init__(self, momentum: float | None = 0.1) -> None:
        super().__init__()
        self.norm, self.read = nn.BatchNorm1d(N, momentum=momentum), nn.Linear(N, N)

    def forward(self, x: Tensor) -> Tensor:
        h, states = torch.zeros(B, N), []
        for x_t in x.unbind(0):
            h = torch.tanh(self.norm(self.read(h) + x_t))
            states.append(h)
        return torch.stack(states)


@torch.no_grad()
def test_running_statistics_are_carried_through_the_loop() -> None:
    model = Normalized()
    fast = run_both(model, lambda: (numbers(T, B, N),), T, T)
    assert int(model.norm.num_batches_tracked) == CALLS * T
    reads = [line for loop in fast.report().loops for line in loop.reads]
    assert sum("lag 1" in line and "running" in line for line in reads) == 2


@torch.no_grad()
def test_statistics_of_training_are_what_evaluation_reads() -> None:
    model = Normalized()
    twin = copy.deepcopy(model)
    fast = compiled(twin)
    for train in (True, False, True, False, True, False):
        model.train(train)
        twin.train(train)
        x = numbers(T, B, N)
        assert_same(fast(x), model(x))
        assert_same(dict(twin.state_dict()), dict(model.state_dict()))
        assert_emitted(fast, *([T, T] if train else [T]))  # the batches are counted in a loop of their own
    assert len(fast.entries) == 2


@torch.no_grad()
def test_an_average_over_all_batches_reads_the_count_and_stays_right() -> None:
    model = Normalized(momentum=None)
    twin = copy.deepcopy(model)
    fast = compiled(twin)
    for _ in range(CALLS + 4):
        x = numbers(T, B, N)
        assert_same(fast(x), model(x))
        assert_same(dict(twin.state_dict()), dict(model.state_dict()))


@torch.no_grad()
def test_instance_normalization_with_running_statistics() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.InstanceNorm1d(N, track_running_stats=True)

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(T):
                x = torch.sin(self.norm(x)) + 1
            return x

    run_both(Net(), lambda: (numbers(B, N, 5),), T)


@torch.no_grad()
def test_a_parameter_that_follows_another_one() -> None:
    class Teacher(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.student, self.teacher = nn.Linear(N, N), nn.Linear(N, N)

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(T):
                x = torch.tanh(self.teacher(x))
                for slow, new in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
                    slow.data.mul_(0.9).add_(new.data, alpha=0.1)
            return x

    model = Teacher()
    fast = run_both(model, lambda: (numbers(B, N),), T)
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in fast.program.parameters())


class Cache(nn.Module):
    """Attention over a buffer that is filled step by step and kept from call to call."""

    keys: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("keys", torch.zeros(B, T, N))

    def forward(self, x: Tensor) -> Tensor:
        h = x[0]
        for t in range(T):
            self.keys[:, t] = h
            weights = torch.softmax((self.keys * h[:, None]).sum(-1), -1)
            h = torch.tanh((weights[:, :, None] * self.keys).sum(1) + x[t])
        return h


def test_a_cache_that_is_read_whole_holds_the_old_values_of_later_steps() -> None:
    run_both(Cache(), lambda: (numbers(T, B, N),), T)


@torch.no_grad()
def test_layers_with_statistics_of_their_own() -> None:
    class Layers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.BatchNorm1d(N) for _ in range(T))

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = torch.tanh(layer(x))
            return x

    fast = run_both(Layers(), lambda: (numbers(B, N),), T, T)
    assert any(f"and {3 * T - 4} more after each run" in note for note in fast.report().notes)


@torch.no_grad()
def test_an_embedding_that_renormalizes_its_weight() -> None:
    class Embedded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(10, N, max_norm=1.0)

        def forward(self, tokens: Tensor) -> Tensor:
            h = torch.zeros(B, N)
            for t in range(T):
                h = step(h, self.embed(tokens[t]) * 3)
            return h

    run_both(Embedded(), lambda: (torch.randint(0, 10, (T, B)),), T)


def test_values_of_another_type_are_cast_as_they_are_written() -> None:
    class Cast(nn.Module):
        large: Tensor
        small: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("large", torch.zeros(B, N, dtype=torch.float64))
            self.register_buffer("small", torch.zeros(B, N, dtype=torch.float16))

        def forward(self, x: Tensor) -> Tensor:
            h = x
            for _ in range(T):
                h = step(h, x)
            torch.add(h, 1, out=self.large)
            self.small.copy_(h)
            return h

    run_both(Cast(), lambda: (numbers(B, N),), T)


def test_training_with_gradients_keeps_the_statistics_of_the_original() -> None:
    model = Normalized()
    twin = copy.deepcopy(model)
    fast = compiled(twin)
    for _ in range(CALLS):
        x = numbers(T, B, N)
        expected, found = model(x), fast(x)
        assert_same(found, expected)
        expected.sum().backward()
        found.sum().backward()
        assert_same(dict(twin.state_dict()), dict(model.state_dict()))
        assert_same(twin.read.weight.grad, model.read.weight.grad)
    assert fast.report().status == "emitted", fast.report().reason
    assert fast.report().gradient_check is not None


def test_a_tensor_of_a_closure_is_written_into() -> None:
    def make(total: Tensor) -> Callable[[Tensor], Tensor]:
        def program(x: Tensor) -> Tensor:
            for _ in range(T):
                x = torch.sin(x) + 1
                total.add_(x)
            return x

        return program

    ours, theirs = torch.zeros(B, N), torch.zeros(B, N)
    fast, program = compiled(make(ours)), make(theirs)
    for _ in range(CALLS):
        x = numbers(B, N)
        assert_same(fast(x), program(x))
        assert_same(ours, theirs)
    assert_emitted(fast, T, T)  # the total is a sum in a loop of its own


def test_a_loop_that_trains_a_weight_of_the_caller() -> None:
    def train(weight: Tensor, x: Tensor, y: Tensor) -> Tensor:
        loss = torch.zeros(())
        for _ in range(T):
            loss = ((x @ weight - y) ** 2).mean()
            (gradient,) = torch.autograd.grad(loss, weight)
            with torch.no_grad():
                weight.sub_(0.1 * gradient)
        return loss.detach()

    fast = compiled(train)
    for _ in range(CALLS):
        ours, x, y = numbers(N, 2).requires_grad_(), numbers(B, N), numbers(B, 2)
        theirs = ours.detach().clone().requires_grad_()
        assert_same(fast(ours, x, y), train(theirs, x, y))
        assert_same(ours, theirs)
        assert ours.is_leaf
    assert_emitted(fast, T)


# Outputs on the memory that was written into.


def test_a_written_input_that_is_returned_is_the_callers_own_tensor() -> None:
    def program(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        for _ in range(T):
            x.mul_(0.5).add_(1)
        return x, x[1:, ::2], x.t()

    fast = compiled(program)
    for _ in range(CALLS):
        x = numbers(B, N)
        result, part, turned = fast(x)
        assert result is x
        x.zero_()
        for found, view in ((part, x[1:, ::2]), (turned, x.t())):
            assert_same(found, view)
            assert found.data_ptr() == view.data_ptr()
            assert found.stride() == view.stride()
    assert_emitted(fast, T)


def test_a_returned_buffer_is_the_models_own() -> None:
    def program(model: Program, x: Tensor) -> Tensor:
        for _ in range(T):
            model.state.mul_(0.5).add_(x)
        return model.state

    model = Program(program)
    fast = compiled(model)
    assert all(fast(numbers(B, N)) is model.state for _ in range(CALLS))
    assert_emitted(fast, T)


def test_a_view_of_a_written_input_may_be_written_into_with_gradients() -> None:
    def program(x: Tensor) -> Tensor:
        for _ in range(T):
            x.mul_(0.5).add_(1)
        return x[0]

    fast, weight = compiled(program), torch.ones(N, requires_grad=True)
    for _ in range(2):
        fast(numbers(B, N)).mul_(weight).sum().backward()
    assert_emitted(fast, T)


def test_values_from_before_the_write_are_not_the_new_ones() -> None:
    def program(model: Program, x: Tensor) -> tuple[Tensor, Tensor]:
        old, first = model.state.clone(), model.state[0].clone()
        for _ in range(T):
            x = step(x, old)
        model.state.copy_(x)
        return old, first

    run_both(Program(program), lambda: (numbers(B, N),), T)


def test_two_buffers_are_exchanged() -> None:
    class Swap(nn.Module):
        a: Tensor
        b: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("a", numbers(B, N))
            self.register_buffer("b", numbers(B, N))

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(T):
                x = torch.sin(x + self.a) + self.b
            old = self.a.clone()
            self.a.copy_(self.b)
            self.b.copy_(old)
            return x

    run_both(Swap(), lambda: (numbers(B, N),), T)


# What must not be touched.


def test_a_failing_guard_leaves_everything_as_the_original_does() -> None:
    def program(model: Program, x: Tensor) -> Tensor:
        for _ in range(T):
            model.state.mul_(0.5).add_(x)
        if model.state.sum() > 0:
            x.add_(1)
        return x * 2

    model = Program(program)
    twin = copy.deepcopy(model)
    fast = compiled(twin)
    ran = []
    for sign in (1, 1, -1, -1, 1, -1):
        x = numbers(B, N).abs() * sign
        y = x.clone()
        assert_same(fast(y), model(x))
        assert_same(y, x)
        assert_same(twin.state, model.state)
        ran.append(str(fast.schedule) != "original")
    assert len(fast.entries) == 2
    assert all(ran)


def test_a_module_that_fails_writes_nothing() -> None:
    model = Program(add_to_state)
    fast = compiled(model)
    x = numbers(B, N)
    fast(x)
    ready, original = fast._runtime.latest.entry.ready, Original(model, (x,), {})
    before = model.state.clone()
    with pytest.raises(RuntimeError):
        ready.run((numbers(B, N + 1),), original)
    assert_same(model.state, before)
    ready.run((x,), original)
    assert not torch.equal(model.state, before)


def add_to_state(model: Program, x: Tensor) -> Tensor:
    for _ in range(T):
        model.state.mul_(0.5).add_(x)
    return x + 1


@pytest.mark.parametrize("schedule", ["auto", "gs"])
def test_compiling_runs_the_side_effects_once(schedule: str) -> None:
    model, x = Program(add_to_state), numbers(B, N)
    twin = copy.deepcopy(model)
    model(x)
    compiled(twin, schedule=schedule)(x)
    assert_same(twin.state, model.state)


def test_example_inputs_count_as_a_call() -> None:
    model, x = Program(add_to_state), numbers(B, N)
    twin = copy.deepcopy(model)
    fast = fxsolve.compile(twin, (x,), schedule="gs", backend="eager")
    assert_emitted(fast, T)
    model(x)
    assert_same(twin.state, model.state)
    assert_same(fast(x * 2), model(x * 2))
    assert_same(twin.state, model.state)


@pytest.mark.parametrize("verify", ["always", 2])
def test_verifying_runs_the_side_effects_once(verify: str | int) -> None:
    fast = run_both(Program(add_to_state), lambda: (numbers(B, N),), T, verify=verify)
    assert fast.report().status == "emitted"


def test_verifying_compares_what_is_left_behind() -> None:
    gain = [1.0]

    class Careless(nn.Module):
        total: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("total", torch.zeros(B, N))
            self.gain = functools.partial(gain.__getitem__, 0)

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(T):
                self.total.mul_(0.5).add_(x * self.gain())
            return x + 1

    model = Careless()
    fast = compiled(model, verify="always")
    x = torch.ones(B, N)
    fast(x)
    fast(x)
    assert_emitted(fast, T)
    before, gain[0] = model.total.clone(), 2.0
    assert_same(fast(x), x + 1)
    assert_left_alone(fast, "differed from the original")
    for _ in range(T):
        before.mul_(0.5).add_(x * 2.0)
    assert_same(model.total, before)


def test_version_counters_count_as_for_the_original() -> None:
    class Both(nn.Module):
        counted: Tensor
        uncounted: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("counted", torch.zeros(B, N))
            self.register_buffer("uncounted", torch.zeros(B, N))

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(T):
                self.counted.add_(x)
                self.uncounted.data.mul_(0.5)
            return x + 1

    model = Both()
    fast = compiled(model)
    fast(numbers(B, N))
    before = model.counted._version, model.uncounted._version
    fast(numbers(B, N))
    assert_emitted(fast, T, T)
    assert model.counted._version > before[0]
    assert model.uncounted._version == before[1]


# Memory that is shared.


def test_inputs_that_share_memory_are_left_to_the_original() -> None:
    def program(x: Tensor, y: Tensor) -> Tensor:
        for _ in range(T):
            x.mul_(0.5).add_(y)
        return x + y

    fast = compiled(program)
    for _ in range(2):
        x, y = numbers(B, N), numbers(B, N)
        assert_same(fast(x.clone(), y), program(x, y))
    assert_emitted(fast, T)
    for _ in range(CALLS):
        z = numbers(2 * B, N)
        w = z.clone()
        assert_same(fast(w[:B], w[B:]), program(z[:B], z[B:]))
        assert_same(w, z)
        assert_left_alone(fast, "input 0 shares memory with input 1")
    fast(numbers(B, N), numbers(B, N))
    assert_emitted(fast, T)


def test_an_input_on_the_memory_of_the_model_is_left_to_the_original() -> None:
    model = Program(add_to_state)
    twin = copy.deepcopy(model)
    fast = compiled(twin)
    for _ in range(2):
        x = numbers(B, N)
        assert_same(fast(x), model(x))
    assert_emitted(fast, T)
    for _ in range(CALLS):
        assert_same(fast(twin.state[:]), model(model.state[:]))
        assert_same(twin.state, model.state)
        assert str(fast.schedule) == "original"


# Refused: the original runs, as if nothing had happened.


def test_a_write_that_carries_gradients_is_left_to_the_original() -> None:
    def program(model: Program, x: Tensor) -> Tensor:
        h = model.state
        for _ in range(T):
            h = step(h, x)
        model.state.copy_(h)
        return h.detach()

    model = Program(program)
    twin = copy.deepcopy(model)
    fast = compiled(twin)
    for _ in range(2):
        x = numbers(B, N).requires_grad_()
        assert_same(fast(x), model(x))
        assert_same(twin.state.detach(), model.state.detach())
        assert twin.state.requires_grad
        assert_left_alone(fast, "lets gradients flow through it")
        for one in (model, twin):
            one.state = one.state.detach()


@pytest.mark.parametrize(
    "view", [lambda x: x[:1].expand(B, N), lambda x: x[:, ::2], lambda x: x[:, 1:], lambda x: x[::2]]
)
def test_an_input_with_gaps_or_shared_entries_is_left_to_the_original(view: Callable[[Tensor], Tensor]) -> None:
    def program(x: Tensor) -> Tensor:
        for _ in range(T):
            x[0].mul_(0.5).add_(1)
        return x + 1

    fast = compiled(program)
    for _ in range(2):
        x = numbers(B, N)
        y = x.clone()
        assert_same(fast(view(y)), program(view(x)))
        assert_same(y, x)
        assert_left_alone(fast, "whose entries share memory or leave gaps in it")


def test_attributes_are_set_after_the_writes() -> None:
    def program(model: Program, x: Tensor) -> Tensor:
        for _ in range(T):
            model.state.mul_(0.5).add_(x)
        model.last = x
        return x + 1

    model = Program(program)
    twin = copy.deepcopy(model)
    fast = compiled(twin)
    for _ in range(CALLS):
        x = numbers(B, N)
        assert_same(fast(x), model(x))
        assert_same(twin.state, model.state)
        assert twin.last is x
    assert_emitted(fast, T)


@pytest.mark.parametrize("schedule", ["gs", "jacobi"])
def test_an_input_is_written_through_its_data_though_it_wants_gradients(schedule: str) -> None:
    def program(x: Tensor, mix: Tensor) -> Tensor:
        h, rows = torch.zeros_like(x[0]), []
        for t in range(T):
            x.data[t].mul_(0.5)
            h = torch.tanh(h @ mix + x[t])
            rows.append(h)
        return torch.stack(rows)

    fast = compiled(program, schedule=schedule)
    for _ in range(CALLS):
        x, mix, seen = numbers(T, B, N).double(), numbers(N, N).double(), []
        for run in (fast, program):
            leaves = [one.clone().requires_grad_() for one in (x, mix)]
            result = run(*leaves)
            result.square().sum().backward()
            seen.append([result.detach(), *(one.detach() for one in leaves), *(one.grad for one in leaves)])
        torch.testing.assert_close(*seen, rtol=1e-9, atol=1e-9)
    assert fast.report().status == "emitted", fast.report().reason
