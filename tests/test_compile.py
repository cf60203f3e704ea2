"""The public API: which schedule runs, and that values, samples, gradients and errors are the program's own."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.errors import InputError, ScheduleError
from fxsolve.runtime.compiled import Compiled
from tests.loops.programs import GRU, B, N, T, numbers


def cell(x: Tensor) -> Tensor:
    """h_t = tanh(h_{t-1} / 2 + x_t): (T, B, n) -> (T, B, n)."""
    h, states = torch.zeros_like(x[0]), []
    for x_t in x:
        h = torch.tanh(h * 0.5 + x_t)
        states.append(h)
    return torch.stack(states)


def compiled(program: Callable[..., Any], schedule: str = "gs", tolerance: float | None = None) -> Compiled:
    return fxsolve.compile(program, schedule=schedule, backend="eager", tolerance=tolerance)


def warmed(program: Callable[..., Any], *inputs: Any, schedule: str = "gs") -> Compiled:
    """Recorded on `inputs`, so that the next call like it runs the emitted module."""
    fast = compiled(program, schedule)
    fast(*inputs)
    return fast


def assert_emitted(fast: Compiled, *lengths: int) -> None:
    assert str(fast.schedule) != "original", fast.report().reason
    assert fast.report().status == "emitted"
    assert sorted(loop.length for loop in fast.report().loops if loop.depth > 1) == sorted(lengths)
    assert fast.graph_module is not None


def assert_left_alone(fast: Compiled, reason: str) -> None:
    assert str(fast.schedule) == "original"
    assert fast.graph_module is None
    assert reason in fast.report().reason
    assert fast.code.startswith("# left alone:")


# When it is recorded.


def test_nothing_is_recorded_before_the_first_call() -> None:
    calls = []

    def program(x: Tensor) -> Tensor:
        calls.append(1)
        return cell(x)

    fast = compiled(program)
    assert not calls
    assert str(fast.schedule) == "original"
    assert fast.report().reason.startswith("not called yet")


def test_the_first_call_returns_the_originals_result_and_the_second_runs_the_emitted_module() -> None:
    x = numbers(T, B, N)
    fast = compiled(cell)
    assert torch.equal(fast(x), cell(x))
    assert_emitted(fast, T)
    assert fast.report().runs == ()
    assert torch.equal(fast(x + 1), cell(x + 1))
    assert [run.length for run in fast.report().runs] == [T]


def test_example_inputs_are_recorded_at_once() -> None:
    fast = fxsolve.compile(cell, (numbers(T, B, N),), schedule="gs", backend="eager")
    assert_emitted(fast, T)


def test_a_new_shape_is_recorded_anew_and_the_old_one_is_kept() -> None:
    fast = warmed(cell, numbers(T, B, N))
    longer = numbers(T + 2, B, N)
    assert torch.equal(fast(longer), cell(longer))
    assert_emitted(fast, T + 2)
    module = fast.graph_module
    fast(numbers(T, B, N))
    assert_emitted(fast, T)
    fast(longer + 1)
    assert fast.graph_module is module


@pytest.mark.parametrize("batch", [1, 2, 5, 16])
def test_batches_of_any_size_give_the_same_values(batch: int) -> None:
    fast = compiled(cell)
    for x in (numbers(T, batch, N), numbers(T, batch, N) * 2):
        assert torch.equal(fast(x), cell(x))
    assert_emitted(fast, T)


def test_another_value_of_a_plain_argument_is_recorded_anew() -> None:
    def program(x: Tensor, gain: float) -> Tensor:
        for _ in range(T):
            x = torch.sin(x * gain + 1)
        return x

    fast = compiled(program)
    for gain in (0.5, 0.25, 0.5):
        x = numbers(B, N)
        assert torch.equal(fast(x, gain), program(x, gain))
        assert_emitted(fast, T)


def test_train_and_eval_are_recorded_apart() -> None:
    class Dropping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(T):
                x = torch.sin(self.drop(x)) + 1
            return x

    model, x = Dropping(), numbers(B, N)
    fast = compiled(model)
    for train in (True, False, True, False):
        model.train(train)
        torch.manual_seed(5)
        expected = model(x)
        torch.manual_seed(5)
        assert torch.equal(fast(x), expected)
        assert_emitted(fast, T)


# Which schedule runs.


@pytest.mark.parametrize("text", ["gs", "jacobi", "gs(jacobi(loop0[0:3]), jacobi(loop0[3:7]))", "jacobi(loop0[0:7:2])"])
def test_a_forced_schedule_runs(text: str) -> None:
    x = numbers(T, B, N)
    fast = warmed(cell, x, schedule=text)
    assert_emitted(fast, T)
    assert ("jacobi" in str(fast.schedule)) == ("jacobi" in text)
    torch.testing.assert_close(fast(x * 2), cell(x * 2))
    (run,) = fast.report().runs
    assert run.method == ("jacobi" if "jacobi" in text else "gauss_seidel")


def test_the_text_of_a_schedule_gives_the_same_schedule_again() -> None:
    x = numbers(T, B, N)
    text = str(warmed(cell, x, schedule="jacobi(loop0[0:7:2], atol=0.001, rtol=0)").schedule)
    assert str(warmed(cell, x, schedule=text).schedule) == text


@pytest.mark.parametrize("text", ["jacobi(", "halley(loop0)", "jacobi(loop9)", "loop0[0:99]", "loop0, loop0", ""])
def test_a_schedule_that_does_not_fit_is_an_error(text: str) -> None:
    with pytest.raises(ScheduleError):
        compiled(cell, text)(numbers(T, B, N))


def test_an_unknown_backend_is_an_error_at_once() -> None:
    with pytest.raises(InputError, match="backend is 'tvm'; choose one of inductor, eager"):
        fxsolve.compile(cell, backend="tvm")


@pytest.mark.parametrize("tolerance", [-1.0, float("nan")])
def test_an_unusable_tolerance_is_an_error_at_once(tolerance: float) -> None:
    with pytest.raises(InputError, match="it must be 0 or a positive number"):
        fxsolve.compile(cell, tolerance=tolerance)


def test_tolerance_0_sweeps_to_the_bitwise_fixed_point() -> None:
    x = numbers(T, B, N)
    fast = compiled(cell, "jacobi", tolerance=0)
    fast(x)
    result = fast(x)
    assert [run.status for run in fast.report().runs] == ["exact"]
    torch.testing.assert_close(result, cell(x), rtol=1e-6, atol=1e-6)


def test_auto_is_never_wrong() -> None:
    x = numbers(64, B, N)
    fast = fxsolve.compile(cell, backend="eager")
    fast(x)
    torch.testing.assert_close(fast(x * 3), cell(x * 3), rtol=1e-5, atol=1e-5)


# Left alone.


def test_a_program_without_a_loop_is_left_alone() -> None:
    fast = warmed(torch.sin, numbers(3))
    assert_left_alone(fast, "no loop was found: it takes 3 equal steps and 6 calls at least")
    assert torch.equal(fast(numbers(4)), torch.sin(numbers(4)))


def test_wanted_gradients_are_the_originals() -> None:
    model = GRU()
    fast = compiled(model)
    for x in (numbers(T, B, N), numbers(T, B, N) + 1):
        expected = torch.autograd.grad(model(x).square().sum(), list(model.parameters()))
        found = torch.autograd.grad(fast(x).square().sum(), list(model.parameters()))
        torch.testing.assert_close(found, expected)
        assert fast.report().gradient_check is not None
    with torch.no_grad():
        fast(x)
        assert_emitted(fast, T)
        assert not fast(x).requires_grad
    assert fast(x).requires_grad


def test_an_input_that_wants_gradients_gets_them() -> None:
    fast = warmed(cell, numbers(T, B, N))
    assert_emitted(fast, T)
    x = numbers(T, B, N).requires_grad_()
    for _ in range(2):
        (found,) = torch.autograd.grad(fast(x).sum(), x)
        (expected,) = torch.autograd.grad(cell(x).sum(), x)
        torch.testing.assert_close(found, expected)
        assert fast.report().status == "emitted"
        assert fast.report().gradient_check is not None


class Result:
    def __init__(self, value: Tensor) -> None:
        self.value = value


def test_a_result_that_is_no_tensor_is_the_originals() -> None:
    def program(x: Tensor) -> Result:
        return Result(cell(x))

    fast = compiled(program)
    for x in (numbers(T, B, N), numbers(T, B, N) + 1):
        assert torch.equal(fast(x).value, cell(x))
        assert_left_alone(fast, "Result")


def test_an_error_of_the_program_reaches_the_caller() -> None:
    def program(x: Tensor) -> Tensor:
        if x.shape[0] > 2:
            raise KeyError("too long")
        return cell(x)

    fast = compiled(program)
    with pytest.raises(KeyError, match="too long"):
        fast(numbers(T, B, N))
    assert torch.equal(fast(numbers(2, B, N)), cell(numbers(2, B, N)))


@pytest.mark.parametrize("length", [0, 1, 2])
def test_loops_too_short_to_roll_are_left_alone(length: int) -> None:
    def program(x: Tensor) -> Tensor:
        h = torch.zeros(B, N)
        for x_t in x:
            h = torch.tanh(h * 0.5 + x_t)
        return h

    fast = compiled(program)
    for x in (numbers(length, B, N), numbers(length, B, N) + 1):
        assert torch.equal(fast(x), program(x))
    assert_left_alone(fast, "no loop was found")


def test_three_steps_are_a_loop() -> None:
    x = numbers(3, B, N)
    fast = warmed(cell, x)
    assert_emitted(fast, 3)
    assert torch.equal(fast(x + 1), cell(x + 1))


def test_irregular_steps_are_left_alone_with_the_reason() -> None:
    def program(x: Tensor) -> Tensor:
        states = [x[0]]
        for t in range(1, 12):
            states.append(torch.tanh(states[(t * t) % 5 % t] * 0.5 + x[t]))
        return torch.stack(states)

    fast = warmed(program, numbers(12, B, N))
    assert_left_alone(fast, "were not rolled")
    assert torch.equal(fast(numbers(12, B, N) + 1), program(numbers(12, B, N) + 1))


# Guards.


def test_a_branch_before_the_loop_follows_the_input() -> None:
    def program(x: Tensor) -> Tensor:
        if (x > 0).all():
            return cell(x)
        return -cell(-x * 2)

    fast = compiled(program)
    x = numbers(T, B, N).abs() + 0.1
    for value in (x, x + 1, -x, x - 0.5, x):
        assert torch.equal(fast(value), program(value))
    assert_emitted(fast, T)


def test_a_branch_inside_the_loop_follows_the_state() -> None:
    def program(x: Tensor) -> Tensor:
        h = torch.zeros(B, N)
        for x_t in x:
            h = torch.tanh(h + x_t)
            if (h > 0).all():
                h = h * 0.5
        return h

    fast = compiled(program)
    x = numbers(T, B, N).abs() + 0.1
    for value in (x, x + 1, -x, x):
        assert torch.equal(fast(value), program(value))
    assert_emitted(fast, T)
    assert [entry.calls for entry in fast.entries] == [0, 2]


def test_a_trip_count_read_from_data_follows_the_data() -> None:
    def program(x: Tensor, count: Tensor) -> Tensor:
        for _ in range(int(count.item())):
            x = torch.sin(x) + 1
        return x

    fast = compiled(program)
    x = numbers(B, N)
    for count in (T, T, 4, T + 3, 0, T):
        assert torch.equal(fast(x, torch.tensor(count)), program(x, torch.tensor(count)))
    assert_emitted(fast, T)


def test_a_loop_until_converged_follows_the_data() -> None:
    def program(x: Tensor) -> Tensor:
        y = torch.zeros_like(x)
        while (torch.cos(y * 0.5 + x) - y).abs().max() > 1e-3:
            y = torch.cos(y * 0.5 + x)
        return y

    fast = compiled(program)
    for x in (numbers(B, N), numbers(B, N) * 2, numbers(B, N) * 0.1, numbers(B, N)):
        assert torch.equal(fast(x), program(x))
        assert fast.report().status == "emitted", fast.report().reason


# Randomness.


def sampler(p: Tensor) -> Tensor:
    """A chain of Bernoulli samples and noise, each step drawn from the one before."""
    x, states = torch.zeros_like(p), []
    for _ in range(T):
        x = torch.bernoulli(torch.sigmoid(p + x)) + 0.1 * torch.randn_like(p)
        states.append(x)
    return torch.stack(states)


@pytest.mark.parametrize("schedule", ["gs", "jacobi"])
def test_the_same_seed_gives_the_same_samples_and_leaves_the_generator_alike(schedule: str) -> None:
    p = numbers(B, N)
    fast = compiled(sampler, schedule)
    for _ in range(3):
        state = torch.get_rng_state()
        expected, after = sampler(p), torch.get_rng_state()
        torch.set_rng_state(state)
        assert torch.allclose(fast(p), expected, atol=1e-6)
        assert torch.equal(torch.get_rng_state(), after)
    assert_emitted(fast, T)


def test_samples_differ_from_call_to_call() -> None:
    p = numbers(B, N)
    fast = warmed(sampler, p)
    assert not torch.equal(fast(p), fast(p))


def test_a_guard_that_fails_draws_the_samples_once() -> None:
    def program(p: Tensor) -> Tensor:
        samples = sampler(p)
        return samples if (samples[-1] > 0).all() else -samples

    fast = compiled(program)
    p = numbers(B, N)
    for seed in range(12):
        torch.manual_seed(seed)
        expected = program(p)
        after = torch.get_rng_state()
        torch.manual_seed(seed)
        assert torch.equal(fast(p), expected)
        assert torch.equal(torch.get_rng_state(), after)
    assert_emitted(fast, T)
    assert len(fast.entries) == 2


# Values.


@pytest.mark.parametrize("schedule", ["gs", "jacobi"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_the_programs(bad: float, schedule: str) -> None:
    x = numbers(T, B, N)
    for place in ((0, 0, 0), (3, 1, 2), (T - 1, 0, 1)):
        fast = warmed(cell, x, schedule=schedule)
        spoiled = x.clone()
        spoiled[place] = bad
        torch.testing.assert_close(fast(spoiled), cell(spoiled), equal_nan=True)
        assert_emitted(fast, T)


def test_a_recorded_run_with_nan_is_compiled_and_right() -> None:
    x = numbers(T, B, N)
    x[2, 0, 0] = float("nan")
    fast = warmed(cell, x, schedule="jacobi")
    assert_emitted(fast, T)
    torch.testing.assert_close(fast(x), cell(x), equal_nan=True)


@pytest.mark.parametrize("schedule", ["gs", "jacobi"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16, torch.complex64])
def test_every_floating_dtype_keeps_its_values(dtype: torch.dtype, schedule: str) -> None:
    x = numbers(T, B, N).to(dtype)
    fast = warmed(cell, x, schedule=schedule)
    assert_emitted(fast, T)
    result = fast(x * 2)
    assert result.dtype == dtype
    torch.testing.assert_close(result, cell(x * 2))


@pytest.mark.parametrize("schedule", ["gs", "jacobi"])
def test_integer_states_are_exact(schedule: str) -> None:
    def program(x: Tensor) -> Tensor:
        state, states = torch.zeros_like(x[0]), []
        for x_t in x:
            state = (state * 5 + x_t) % 11
            states.append(state)
        return torch.stack(states)

    x = torch.randint(0, 9, (T, B))
    fast = warmed(program, x, schedule=schedule)
    assert_emitted(fast, T)
    assert torch.equal(fast(x + 2), program(x + 2))


def test_a_diverging_recurrence_under_jacobi_is_the_sequential_one() -> None:
    def program(x: Tensor) -> Tensor:
        h, states = x, []
        for _ in range(30):
            h = h * h * 1.5 - 1 + x
            states.append(h)
        return torch.stack(states)

    x = numbers(B, N) * 0.1
    fast = warmed(program, x, schedule="jacobi")
    assert_emitted(fast, 30)
    for value in (x, x * 1.01, x * 50):
        torch.testing.assert_close(fast(value), program(value), equal_nan=True)
        assert [run.method for run in fast.report().runs] == ["jacobi"]


@pytest.mark.parametrize("tolerance", [None, 1e-4])
def test_slow_convergence_is_not_taken_for_convergence(tolerance: float | None) -> None:
    """Small changes add up: 5e-7 a step is far from the sum of 500 of them."""

    def program(x: Tensor, keep: Tensor) -> Tensor:
        h, states = torch.zeros_like(x[0]), []
        for x_t in x:
            h = keep * h + x_t
            states.append(h)
        return torch.stack(states)

    x = numbers(500, 2)
    fast = compiled(program, "jacobi", tolerance)
    fast(x, torch.tensor(0.3))
    assert_emitted(fast, 500)
    for scale in (5e-7, 5e-5):
        small = torch.full((500, 2), scale)
        for keep in (0.9, 0.999, 1.0):
            value = fast(small, torch.tensor(keep))
            expected = program(small, torch.tensor(keep))
            # 500 additions in single precision, each of which rounds to 6e-8 of the sum.
            torch.testing.assert_close(value, expected, rtol=1e-4, atol=tolerance or 1e-6)
            assert [run.method for run in fast.report().runs] == ["jacobi"]


# The model's own state.


def test_loaded_and_replaced_parameters_are_seen() -> None:
    model, x = GRU(), numbers(T, B, N)
    with torch.no_grad():
        fast = warmed(model, x)
        model.load_state_dict({name: value * 2 for name, value in model.state_dict().items()})
        assert torch.equal(fast(x), model(x))
        model.read.weight = nn.Parameter(model.read.weight + 1)
        assert torch.equal(fast(x), model(x))
        model.keep.bias.data = model.keep.bias.data + 1
        assert torch.equal(fast(x), model(x))
        model.keep = nn.Linear(N, 3 * N)
        for _ in range(2):
            assert torch.equal(fast(x), model(x))
            assert_emitted(fast, T)


def test_a_module_moved_to_another_dtype_is_recorded_anew() -> None:
    model, x = GRU(), numbers(T, B, N)
    with torch.no_grad():
        fast = warmed(model, x)
        model.to(torch.float64)
        for value in (x.double(), x.double() + 1):
            result = fast(value)
            assert result.dtype == torch.float64
            assert torch.equal(result, model(value))
    assert_emitted(fast, T)


def test_a_submodule_that_is_replaced_is_seen() -> None:
    class Layered(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act: nn.Module = nn.Tanh()

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(T):
                x = self.act(x) + 1
            return x

    model, x = Layered(), numbers(B, N)
    fast = warmed(model, x)
    model.act = nn.Sigmoid()
    for _ in range(2):
        assert torch.equal(fast(x), model(x))
        assert_emitted(fast, T)


def test_attributes_of_the_program_are_reached_through_the_compiled_one() -> None:
    model = GRU()
    assert compiled(model).read is model.read


# Inputs.


def test_the_same_tensor_twice_and_two_tensors_are_told_apart() -> None:
    def program(x: Tensor, y: Tensor) -> Tensor:
        for _ in range(T):
            x = torch.sin(x) + 0.5 * y
        return x

    fast = compiled(program)
    a, b = numbers(B, N), numbers(B, N) + 1
    for pair in ((a, a), (a, b), (b, b), (b, a)):
        assert torch.equal(fast(*pair), program(*pair))
        assert_emitted(fast, T)


@pytest.mark.parametrize("schedule", ["gs", "jacobi"])
def test_any_strides_of_the_inputs_give_the_same_values(schedule: str) -> None:
    fast = compiled(cell, schedule)
    for x in (
        numbers(B, T, N).transpose(0, 1),
        numbers(2 * T, B, N)[::2],
        numbers(T, 1, N).expand(T, B, N),
        numbers(1, B, N).expand(T, B, N),
        numbers(T, B, N).flip(0),
    ):
        for value in (x, x * 2):
            result, expected = fast(value), cell(value)
            torch.testing.assert_close(result, expected, rtol=1e-6, atol=1e-6)
            assert result.stride() == expected.stride()
            assert_emitted(fast, T)


def test_results_do_not_share_memory_with_later_calls() -> None:
    x = numbers(T, B, N)
    fast = warmed(cell, x)
    first = fast(x)
    kept = first.clone()
    fast(x + 1)
    assert torch.equal(first, kept)


def test_an_automatic_choice_that_differs_is_dropped_for_running_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    from fxsolve.report.data import Check
    from fxsolve.runtime import checks as checking
    from fxsolve.runtime import compilation

    checks: list[bool] = []

    def first_ones_differ(*_: object) -> Check:
        checks.append(True)
        return Check(1.0, False, 1e-6) if len(checks) < 3 else Check(0.0, True, 1e-6)

    monkeypatch.setattr(checking, "check", first_ones_differ)
    monkeypatch.setattr(compilation.Compilation, "_race", lambda *_: "")

    def program(x: Tensor) -> Tensor:
        h = x[0]
        for x_t in x:
            h = torch.tanh(h + x_t)
        return h

    fast = fxsolve.compile(program, backend="eager")
    x = torch.randn(12, 2, 3)
    with torch.no_grad():
        assert torch.equal(fast(x), program(x))
        assert torch.equal(fast(x), program(x))
    assert "jacobi" not in str(fast.schedule)
    assert str(fast.schedule) != "original"
    assert any("was dropped: the emitted module differs" in note for note in fast.report().notes)
