"""Loops that stop on a value: one recording runs for every number of steps, and stops where the program stops."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxsolve

N = 12
Program = Callable[..., Any]


def mixing(rate: float) -> nn.Linear:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = nn.Linear(N, N)
        nn.init.orthogonal_(layer.weight, rate)
    return layer


MIX = mixing(0.9)


def inputs(count: int, *shape: int) -> Iterable[Tensor]:
    """Of growing and falling size, so that the numbers of steps differ."""
    generator = torch.Generator().manual_seed(0)
    for k in range(count):
        yield torch.randn(*shape, generator=generator) * (0.05 + 0.4 * (k * 7 % 10))


def fixed_point(u: Tensor) -> Tensor:
    z = torch.zeros_like(u)
    for _ in range(300):
        new = torch.tanh(MIX(z) + u)
        if (new - z).abs().max() < 1e-4:
            break
        z = new
    return new


def while_not_done(u: Tensor) -> Tensor:
    z, done = torch.zeros_like(u), torch.tensor(False)
    while not done:
        new = torch.tanh(MIX(z) + u)
        done = (new - z).norm() < 1e-3
        z = new
    return z * 2


def condition_first(u: Tensor) -> Tensor:
    x = u * 100
    while x.norm() > 3:
        x = 0.2 * torch.tanh(MIX(x)) + 0.7 * x
    return x + u


def two_conditions(u: Tensor) -> Tensor:
    z = u
    for _ in range(200):
        new = 0.9 * torch.tanh(MIX(z)) + 0.1 * u
        change = new - z
        if torch.isnan(new).any() or (change.abs() < 1e-4).all():
            break
        z = new
    return new - z


def allclose(reward: Tensor) -> Tensor:
    move = torch.softmax(torch.arange(N * N).reshape(N, N).sin(), -1)
    v = torch.zeros(N)
    while True:
        new = reward.amax(0) + 0.8 * move @ v
        if torch.allclose(new, v, atol=1e-4):
            return new
        v = new


def conjugate_gradients(u: Tensor) -> Tensor:
    matrix = MIX.weight @ MIX.weight.mT + torch.diag(torch.linspace(0.01, 1 + float(len(u)), N)) * u.norm()
    b = u[0]
    x, r = torch.zeros(N), b.clone()
    p, square = r, r @ r
    for _ in range(100):
        product = matrix @ p
        alpha = square / (p @ product)
        x = x + alpha * p
        r = r - alpha * product
        new = r @ r
        if new.sqrt() < 1e-3:
            break
        p = r + new / square * p
        square = new
    return x


def sinkhorn(cost: Tensor) -> Tensor:
    k = torch.exp(-cost[:, :6].abs())
    a = torch.ones(len(k))
    for _ in range(500):
        b = 1 / (k.T @ a)
        new = 1 / (k @ b)
        error = (new / a - 1).abs().max().item()
        a = new
        if error < 1e-4:
            break
    return a[:, None] * k * b


def newton_of_each_step(u: Tensor) -> Tensor:
    """Implicit Euler: an inner loop in every step of an outer one."""
    x, states = torch.ones(N), []
    for t in range(len(u)):
        y = x
        for _ in range(50):
            residual = y - x - 0.5 * (u[t] - y**3)
            if residual.abs().max() < 1e-6:
                break
            y = y - residual / (1 + 1.5 * y**2)
        x = y
        states.append(x)
    return torch.stack(states)


def adaptive(u: Tensor) -> Tensor:
    """Step sizes with accept and reject in tensor form, until the end of the interval."""
    y, t, step = u, torch.tensor(0.0), torch.tensor(0.1)
    while t < 1:
        step = torch.minimum(step, 1 - t)
        slope = -MIX(y)
        middle = -MIX(y + step * slope)
        error = (step * (middle - slope) / 2).abs().max()
        accept = error < 1e-2
        y = torch.where(accept, y + step * (slope + middle) / 2, y)
        t = torch.where(accept, t + step, t)
        step = step * torch.clamp(0.9 * (1e-2 / (error + 1e-12)).sqrt(), 0.2, 2.0)
    return y


def power_iteration(u: Tensor) -> Tensor:
    matrix = u[:, :N].T @ u[:, :N] + torch.eye(N)
    v, rate, k = torch.ones(N), 0.0, 0
    while k < 400:
        w = matrix @ v
        new = float(w.norm())
        v, k = w / new, k + 1
        if abs(new - rate) < 1e-4 * new:
            break
        rate = new
    return v


def counted(u: Tensor) -> tuple[Tensor, int]:
    z, k = torch.zeros_like(u), 0
    while True:
        new = torch.tanh(MIX(z) + u)
        k += 1
        if (new - z).abs().max() < 1e-4:
            break
        z = new
    return new / k, k


def error_in_python(u: Tensor) -> tuple[Tensor, float]:
    """A condition at the start, of numbers that Python computes, one of which is returned."""
    x, error = torch.zeros_like(u), 1.0
    while error > 1e-3:
        new = 0.5 * torch.cos(x) + 0.3 * u.tanh()
        error = (new - x).abs().max().item() / (1 + float(new.norm()))
        x = new
    return x, error


def ranks(u: Tensor) -> tuple[Tensor, Tensor]:
    """Counted in a tensor behind the loop."""
    move, r, turns = torch.softmax(u @ u.mT, 0), torch.eye(len(u))[0], 0
    while True:
        new = 0.85 * move @ r + 0.15 / len(u)
        change, r = torch.sum(torch.abs(new - r)), new
        turns += 1
        if change < 1e-4 or turns >= 300:
            break
    return r, torch.tensor(turns)


def with_else(u: Tensor) -> Tensor:
    z = u
    for _ in range(9):
        new = 0.6 * torch.tanh(MIX(z)) + 0.01 * u
        if (new - z).abs().max() < 1e-2:
            break
        z = new
    else:
        return z * 0
    return new


def decayed(u: Tensor) -> Tensor:
    """A number of the step in every step."""
    x = u
    for t in range(1, 200):
        new = x - 0.5 / t**0.5 * (x - torch.tanh(MIX(x)))
        if (new - x).norm() < 1e-2:
            break
        x = new
    return x


def linear(u: Tensor) -> Tensor:
    """Its backward pass reads nothing of the steps, and the gradient shrinks with every one of them."""
    z = torch.zeros_like(u)
    while True:
        new = 0.8 * z + u
        if (new - z).abs().max() < 1e-3:
            return new
        z = new


def scaled_by_time(u: Tensor) -> Tensor:
    """Whole numbers of the step, forward and backward."""
    x = u
    for t in range(1, 200):
        new = torch.tanh(x / t) * t * 0.5
        if (new - x).norm() < 1e-2:
            break
        x = new
    return x


def implicit_steps(u: Tensor) -> Tensor:
    """An inner loop in every step of an outer one."""
    x, states = torch.zeros(N), []
    for t in range(len(u)):
        y = x
        while True:
            new = x + 0.3 * torch.tanh(MIX(y)) + 0.5 * u[t]
            if (new - y).abs().max() < 1e-5:
                break
            y = new
        x = new
        states.append(x)
    return torch.stack(states)


def same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, Tensor):
        return torch.equal(found, wanted)
    if isinstance(wanted, tuple):
        return all(map(same, found, wanted))
    return type(found) is type(wanted) and found == wanted


def run_all(fast: Program, program: Program, given: Iterable[Tensor]) -> int:
    """Compares every call with the program itself; returns how many differ."""
    with torch.no_grad():
        return sum(not same(fast(u), program(u)) for u in given)


def recordings(fast: fxsolve.Compiled, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every recording."""
    made: list[int] = []
    from fxsolve.runtime import entry

    capture = entry.capture
    monkeypatch.setattr(entry, "capture", lambda *given: (made.append(1), capture(*given))[1])
    return made


def stopped(fast: fxsolve.Compiled) -> bool:
    """Whether the last call ran a loop that stops on a value.

    Of a number of steps that no call had, it ran beside the original, whose result is returned: no run is reported.
    """
    report = fast.report()
    is_ours = not report.runs or any(run.method == "until" for run in report.runs)
    return report.status == "emitted" and "while(" in report.schedule and is_ours


SINGLE = [
    fixed_point,
    while_not_done,
    condition_first,
    two_conditions,
    allclose,
    conjugate_gradients,
    sinkhorn,
    adaptive,
    power_iteration,
    counted,
    decayed,
    error_in_python,
    ranks,
    newton_of_each_step,
]


@pytest.mark.parametrize("program", SINGLE, ids=lambda one: one.__name__)
def test_a_few_recordings_serve_every_number_of_steps(program: Program, monkeypatch) -> None:
    fast = fxsolve.compile(program, schedule="gs", backend="eager")
    made = recordings(fast, monkeypatch)
    assert run_all(fast, program, inputs(30, 6, N)) == 0
    assert stopped(fast), fast.report()
    assert len(made) <= 3
    assert len(fast.entries) <= 3


@pytest.mark.parametrize("program", [allclose, adaptive], ids=lambda one: one.__name__)
def test_compiled_steps_stop_where_the_program_stops(program: Program, monkeypatch) -> None:
    fast = fxsolve.compile(program, schedule="gs(while(while0, ahead=4))")
    made = recordings(fast, monkeypatch)
    assert run_all(fast, program, inputs(30, 6, N)) == 0
    assert [run.method for run in fast.report().runs] == ["until_ahead"]
    assert len(made) <= 3


@pytest.mark.parametrize("program", [power_iteration, sinkhorn], ids=lambda one: one.__name__)
def test_numbers_of_a_loop_that_was_left_alone_are_followed_at_the_next_call(program: Program, monkeypatch) -> None:
    """With its numbers as they were, the loop takes longer than the program."""
    fast = fxsolve.compile(program, backend="eager")
    made = recordings(fast, monkeypatch)
    assert run_all(fast, program, inputs(8, 6, N)) == 0
    assert any(loop.stops is not None for loop in fast.report().loops)
    assert 2 <= len(made) <= 4


def test_a_loop_that_ends_without_a_stop_goes_its_own_way(monkeypatch) -> None:
    fast = fxsolve.compile(with_else, schedule="gs", backend="eager")
    made = recordings(fast, monkeypatch)
    assert run_all(fast, with_else, inputs(30, 6, N)) == 0
    assert len(made) <= 4


def test_the_generator_is_where_the_program_leaves_it() -> None:
    def walk(u: Tensor) -> Tensor:
        x = u
        for _ in range(400):
            x = 0.8 * x + 0.01 * torch.randn(N)
            if x.abs().max() < 0.5:
                break
        return x

    fast = fxsolve.compile(walk, schedule="gs", backend="eager")
    with torch.no_grad():
        for k, u in enumerate(inputs(20, N)):
            torch.manual_seed(k)
            found, state = fast(u * 50), torch.get_rng_state()
            torch.manual_seed(k)
            assert same(found, walk(u * 50))
            assert torch.equal(state, torch.get_rng_state())
    assert fast.report().status == "left alone"
    assert "is a random draw, and how many there are depends on the value" in fast.report().reason


def test_other_steps_than_those_recorded_are_recorded_anew(monkeypatch) -> None:
    def restarted(u: Tensor) -> Tensor:
        z, k = torch.zeros_like(u), 0
        while True:
            new = torch.tanh(MIX(z) + u)
            k += 1
            if (new - z).abs().max() < 1e-4:
                break
            z = new * 0.5 if k == 40 else new
        return new

    fast = fxsolve.compile(restarted, schedule="gs", backend="eager")
    small, large = [torch.full((6, N), size) for size in (0.5, 3.0)], [torch.full((6, N), 1e-3)] * 3
    given = [*small, *large, *small, *inputs(12, 6, N)]
    assert run_all(fast, restarted, given) == 0


def test_what_no_recording_shows_is_seen_all_the_same() -> None:
    """A bound that no recording came to."""

    def bounded(u: Tensor) -> Tensor:
        z = torch.zeros_like(u)
        for _ in range(30):
            new = torch.tanh(MIX(z) + u)
            if (new - z).abs().max() < 1e-5:
                break
            z = new
        return new

    fast = fxsolve.compile(bounded, schedule="gs", backend="eager")
    sizes = [8.0, 6.0, 4.0, 2.0, 1.0, 0.5, 0.1, 0.01, 4.0, 0.1, 2.0]
    generator = torch.Generator().manual_seed(3)
    given = [torch.randn(6, N, generator=generator) * size for size in sizes]
    assert run_all(fast, bounded, [*given, given[-1]]) == 0  # of the last one the number of steps is known
    assert stopped(fast)


def test_a_number_of_steps_between_two_that_were_seen_may_mean_something_else() -> None:
    """It decides in Python behind the loop, where nothing is read from a tensor."""

    def by_turns(u: Tensor) -> Tensor:
        z, k = torch.zeros_like(u), 0
        while True:
            new, k = torch.tanh(MIX(z) + u), k + 1
            if (new - z).abs().max() < 1e-4:
                break
            z = new
        return new * 2 if k % 3 == 0 else new

    fast = fxsolve.compile(by_turns, schedule="gs", backend="eager")
    given = list(inputs(30, 6, N))
    order = sorted(given, key=lambda one: one.abs().max().item())
    assert run_all(fast, by_turns, [order[0], order[-1], *order]) == 0


def test_the_report_says_where_it_stops() -> None:
    fast = fxsolve.compile(fixed_point, schedule="gs", backend="eager")
    assert run_all(fast, fixed_point, inputs(10, 6, N)) == 0
    text = str(fast.report())
    assert "stops when True is read at" in text
    assert "at most 55 steps" in text or "at most 54 steps" in text
    assert "while(while0)" in fast.report().schedule


def gradients(program: Program, u: Tensor) -> list[Tensor]:
    """Values, and gradients of the argument and of the weights."""
    given = u.clone().requires_grad_()
    result = program(given)
    result = result if isinstance(result, Tensor) else result[0]
    found = torch.autograd.grad(result.square().sum(), [given, *MIX.parameters()], allow_unused=True)
    return [result.detach(), *(one for one in found if one is not None)]


@pytest.mark.parametrize(
    "program",
    [
        fixed_point,
        while_not_done,
        condition_first,
        two_conditions,
        conjugate_gradients,
        sinkhorn,
        adaptive,
        allclose,
        counted,
        decayed,
        ranks,
        linear,
        scaled_by_time,
        implicit_steps,
    ],
    ids=lambda one: one.__name__,
)
def test_gradients_are_those_of_the_steps_that_ran(program: Program, monkeypatch) -> None:
    fast = fxsolve.compile(program, schedule="gs", backend="eager")
    made = recordings(fast, monkeypatch)
    ran = 0
    for u in inputs(24, 6, N):
        for found, wanted in zip(gradients(fast, u), gradients(program, u), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
        ran += stopped(fast)
    assert ran >= 6, fast.report()
    assert len(made) <= 3


@pytest.mark.parametrize("program", [linear, allclose, decayed], ids=lambda one: one.__name__)
def test_gradients_of_every_number_of_steps_are_the_programs_to_the_bit(program: Program) -> None:
    """Those of another number of steps may be as close as any tolerance."""
    fast = fxsolve.compile(program, schedule="gs", backend="eager")
    for u in [*inputs(30, 6, N), *inputs(30, 6, N)]:
        assert all(map(torch.equal, gradients(fast, u), gradients(program, u)))
    assert stopped(fast)


def test_gradients_where_only_some_results_are_used() -> None:
    def program(u: Tensor) -> tuple[Tensor, Tensor]:
        z = fixed_point(u)
        return z.sin(), (u * 2).cos() @ z.detach().mT

    fast = fxsolve.compile(program, schedule="gs", backend="eager")
    for k, u in enumerate(inputs(8, 6, N)):
        ours, theirs = u.clone().requires_grad_(), u.clone().requires_grad_()
        fast(ours)[k % 2].sum().backward()
        program(theirs)[k % 2].sum().backward()
        assert ours.grad is not None
        assert theirs.grad is not None
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-6)
    assert fast.report().status == "emitted"
