"""Whole programs solved by the methods that a user names, and by those that the compiler picks: values and what ran."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

import fxsolve
from fxsolve.plan import rules
from fxsolve.plan.methods import jacobi as jacobi_method
from fxsolve.solvers.solution import Solution, observe
from tests.plan.recurrences import B, N, affine, diagonal, gru, loop_over, lstm, tanh_rnn, weights

T = 40

Program = Callable[..., Any]


def inputs(program: Program, dtype: torch.dtype, length: int = T) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(length)
    x = torch.randn(length, B, N, dtype=dtype, generator=generator)
    return (x, *weights(dtype)) if program is not lstm else (x, torch.cat([*weights(dtype)] * 2, -1))


def solve(program: Program, schedule: str, dtype: torch.dtype = torch.float64) -> tuple[Any, list[Solution]]:
    """The compiled program and the solves of its second call, which gave what the program gives."""
    args = inputs(program, dtype)
    with torch.no_grad():
        fast = fxsolve.compile(program, schedule=schedule, backend="eager")
        fast(*args)
        with observe() as seen:
            results = fast(*args)
        expected = program(*args)
    tolerance = {torch.float64: 1e-11, torch.float32: 1e-5}[dtype]
    for result, value in zip(pytree.tree_leaves(results), pytree.tree_leaves(expected), strict=True):
        torch.testing.assert_close(result, value, rtol=tolerance, atol=tolerance)
    return fast, seen


def method_of(seen: list[Solution]) -> str:
    (solution,) = [one for one in seen if one.name == "loop0"]
    assert solution.status != "finished sequentially"
    return solution.method


RNN, GRU, DIAGONAL, AFFINE = map(loop_over, (tanh_rnn, gru, diagonal, affine))
ALL = [RNN, GRU, lstm, DIAGONAL, AFFINE]
NAMES = ["tanh rnn", "gru", "lstm", "diagonal", "affine"]

TEXTS = [
    ("newton(loop0)", "newton"),
    ("newton(loop0[0:40:15])", "newton"),
    ("gs(loop0[0:3], newton(loop0[3:40]))", "newton"),
    ("newton(loop0, atol=1e-13, rtol=1e-13)", "newton"),
    ("newton(loop0, jacobian=diagonal, atol=1e-14, rtol=1e-14)", "newton"),
    ("picard(loop0)", "picard"),
    ("levels(loop0)", "levels"),
    ("jacobi(loop0, window=8, atol=1e-14, rtol=1e-14)", "sliding"),
    ("jacobi(gs(loop0[0:40:6]))", "jacobi_gs"),
    ("jacobi(loop0, samples=3:2)", "jacobi_by_sample"),
]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("program", ALL, ids=NAMES)
def test_newton_solves_every_cell(program: Program, dtype: torch.dtype) -> None:
    fast, seen = solve(program, "newton", dtype)
    assert method_of(seen) == "newton"
    assert next(one for one in seen if one.name == "loop0").sweeps <= 12
    assert "newton(loop0[0:40])" in str(fast.schedule)
    assert fast.report().notes == ()


@pytest.mark.parametrize(("text", "method"), TEXTS)
@pytest.mark.parametrize("program", [GRU, lstm, DIAGONAL], ids=["gru", "lstm", "diagonal"])
def test_every_method_that_a_user_names_runs_and_is_right(program: Program, text: str, method: str) -> None:
    _, seen = solve(program, text)
    assert method_of(seen) == method


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("program", [DIAGONAL, AFFINE], ids=["diagonal", "affine"])
def test_an_affine_loop_is_one_scan(program: Program, dtype: torch.dtype) -> None:
    fast, seen = solve(program, "scan", dtype)
    assert method_of(seen) == "scan"
    assert "scan(loop0[0:40])" in str(fast.schedule)
    assert "affine in the carry, proved" in str(fast.report())


def test_time_may_run_backwards() -> None:
    def program(x: Tensor, w: Tensor, u: Tensor) -> Tensor:
        h, states = torch.zeros_like(x[0]), []
        for t in reversed(range(len(x))):
            h = h @ w + x[t]
            states.append(h)
        return torch.stack(states[::-1])

    for text in ("scan", "newton"):
        _, seen = solve(program, text)
        assert method_of(seen) == text


def reverse_loop(x: Tensor, w: Tensor, u: Tensor) -> Tensor:
    """The gradient of a loop, taken inside the program."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        return torch.autograd.grad(RNN(x, w, u).square().sum(), x)[0]


def test_the_backward_pass_of_a_loop_is_scanned_and_its_forward_pass_is_not() -> None:
    fast, seen = solve(reverse_loop, "scan")
    methods = {one.name: one.method for one in seen}
    affine_loops = [loop.name for loop in fast.report().loops if loop.affine]
    assert affine_loops
    assert all(methods[name] == "scan" for name in affine_loops)
    assert methods["loop0"] == "gauss_seidel"
    assert "loop0 runs in order: a step is not proved to be affine in what it carries" in fast.report().notes


def test_newton_and_chunks_fit_a_loop_that_reads_two_steps_back() -> None:
    def second_order(x: Tensor, w: Tensor, u: Tensor) -> Tensor:
        a, b = x[0], x[1]
        for x_t in x.unbind(0):
            a, b = b, 0.4 * torch.sin(a) + 0.3 * torch.cos(b) + x_t
        return b

    for text in ("newton", "jacobi(gs(loop0[0:40:1]))"):
        _, seen = solve(second_order, text)
        assert method_of(seen) in text.replace("jacobi(gs", "jacobi_gs")


def test_a_method_that_does_not_fit_leaves_its_loop_in_order_and_says_why() -> None:
    fast, seen = solve(GRU, "scan(loop0)")
    assert method_of(seen) == "gauss_seidel"
    assert "loop0 runs in order: a step is not proved to be affine in what it carries" in fast.report().notes


def test_a_sum_whose_terms_cannot_be_batched_runs_in_order_beside_loops_that_can() -> None:
    def masked_sum(x: Tensor, w: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        h, total = x[0], x.new_zeros(())
        for x_t in x:
            total = total + torch.exp(h[h.abs() >= 0]).sum()
            h = torch.tanh(0.5 * h + x_t)
        return h, total

    fast, seen = solve(masked_sum, "jacobi")
    assert method_of(seen) == "jacobi"
    assert {one.name: one.method for one in seen}["loop0_sums"] == "gauss_seidel"
    assert any("loop0_sums runs in order" in note for note in fast.report().notes)


def test_a_diverging_newton_ends_with_the_values_of_the_loop() -> None:
    program = loop_over(lambda h, x, w, u: torch.sin(6 * (h @ (8 * w)) + x))  # chaotic
    args = inputs(program, torch.float64)
    with torch.no_grad():
        fast = fxsolve.compile(program, schedule="newton(loop0, atol=0, rtol=0, max_sweeps=4)", backend="eager")
        fast(*args)
        with observe() as seen:
            # Of the steps that Newton made exact, the batched ones round otherwise, and chaos blows that up.
            torch.testing.assert_close(fast(*args), program(*args), rtol=1e-6, atol=1e-6)
    assert [(one.method, one.status) for one in seen] == [("newton", "finished sequentially")]


def test_the_emitted_code_shows_the_layout_and_the_linear_module() -> None:
    fast, _ = solve(GRU, "newton")
    assert f"Layout(outputs = (0,), shapes = (({B}, {N}),), batch = ({B},), orders = ((0, 1),))" in fast.code
    assert "self.loop0_linear" in fast.code


def test_the_report_says_what_is_proved_of_the_jacobian() -> None:
    fast, _ = solve(RNN, "gs")
    text = str(fast.report())
    assert f"{B} blocks of {N} x {N}, proved" in text
    assert "[-1, 1], proved" in text
    assert "diagonal, proved" in str(solve(DIAGONAL, "gs")[0].report())


# What the compiler picks.


def slowly_forgetting(h: Tensor, x: Tensor, w: Tensor, u: Tensor) -> Tensor:
    return (0.98 + 0.01 * torch.sigmoid(w[0])) * h + u[0] * x


def test_a_long_affine_recurrence_that_forgets_slowly_is_scanned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "step_seconds", lambda *_: 1e-4)
    program = loop_over(slowly_forgetting)
    args = inputs(program, torch.float32, 2048)
    with torch.no_grad():
        fast = fxsolve.compile(program, backend="eager")
        fast(*args)
        with observe() as seen:
            result = fast(*args)
        exact = program(*(value.double() for value in args))
    assert "scan(loop0[0:2048])" in str(fast.schedule), fast.report()
    assert method_of(seen) == "scan"
    # The loop itself rounds as often: a scan must not be worse than it.
    assert (result - exact).abs().max() <= 2 * (program(*args) - exact).abs().max()


def test_newton_is_picked_where_steps_are_dear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "step_seconds", lambda *_: 1.0)
    monkeypatch.setattr(jacobi_method, "sweep_seconds", lambda window: window.length * 0.45)
    args = inputs(GRU, torch.float64)
    system = fxsolve.partition(program := fxsolve.capture(GRU, *args))
    decision = fxsolve.schedule(program, system, backend="eager")
    assert "newton(loop0[0:40])" in str(decision.schedule)
    emitted = fxsolve.emit(program, system, decision)
    torch.testing.assert_close(emitted.module(*args)[0], GRU(*args), rtol=1e-11, atol=1e-11)
