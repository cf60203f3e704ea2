"""Affine bodies: what is proved, checked against the numbers, and shown in the report."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

import fxsolve
from fxsolve.ir.spec import Lag, Prefix, Repeat
from fxsolve.plan.facts import is_affine
from tests.ops.bodies import reads_for, recorded

T, B, N = 6, 2, 3


def repeats(program: Callable[..., Any], *inputs: Any) -> list[Repeat]:
    """The loops of a program that carry something."""
    system = fxsolve.partition(fxsolve.capture(program, *inputs)).system
    return [r for r in system.repeats if any(isinstance(read, (Lag, Prefix)) for read in r.reads)]


def affinity(step: Callable[[Tensor, Tensor, Tensor], Tensor]) -> bool:
    """Whether the loop h <- step(h, x_t, w) is found to be affine."""

    def program(x: Tensor, w: Tensor) -> Tensor:
        h, states = torch.ones_like(x[0]), []
        for x_t in x:
            h = step(h, x_t, w)
            states.append(h)
        return torch.stack(states)

    (repeat,) = repeats(program, torch.rand(T, B, N), torch.rand(N, N))
    return is_affine(repeat)


@pytest.mark.parametrize(
    "step",
    [
        lambda h, x, w: h + x.sin(),
        lambda h, x, w: (x.sigmoid() * h) - (1 - x.sigmoid()) * 2,
        lambda h, x, w: h @ w.tanh() + x,
        lambda h, x, w: F.linear(h, w, x[0]) / (1 + x * x),
        lambda h, x, w: torch.where(x > 0.5, h * 2, x.exp() - h),
        lambda h, x, w: torch.cat([h[:, 1:], x[:, :1] * h[:, :1]], -1).flip(-1),
        lambda h, x, w: h.cumsum(-1) / 3 + h.mean(0) - h.sum(-1, keepdim=True),
        lambda h, x, w: torch.lerp(h, x, x.sigmoid()) + torch.addcmul(x, x.cos(), h),
        lambda h, x, w: torch.lerp(x.sin(), x.cos(), h),
        lambda h, x, w: h.masked_fill(x > 0.5, 1.0).roll(1, 0) + torch.zeros_like(h),
        lambda h, x, w: (torch.bmm(h.unsqueeze(2), x.unsqueeze(1)) @ w.cos()).sum(1),
        lambda h, x, w: h.float() + h.index_select(1, (x[0] > 0.5).long()),
        lambda h, x, w: torch.einsum("bi,ij,bj->bj", h, w, x) + F.pad(h[:, :2], (1, 0)),
    ],
)
def test_sums_scalings_products_and_movement_are_affine(step: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    assert affinity(step)


@pytest.mark.parametrize(
    "step",
    [
        lambda h, x, w: torch.tanh(h) + x.sin(),
        lambda h, x, w: h * h + x.sin(),
        lambda h, x, w: (h * 2) * (h + x.sin()),
        lambda h, x, w: x.exp() / (h + 2) + x.sin(),
        lambda h, x, w: h @ (h.t() @ x.sin()),
        lambda h, x, w: torch.where(h > 0.5, h, x.sin() + 1),
        lambda h, x, w: h.masked_fill(h > 0.5, 0.0) + x.sin(),
        lambda h, x, w: h.abs() + x.sin(),
        lambda h, x, w: (h + x.sin()).round().to(torch.int32).to(torch.float32),
        lambda h, x, w: h[:, (h[0] > 0.5).long()] + x.sin(),
        lambda h, x, w: torch.maximum(h, x.sin()) * 0.5,
        lambda h, x, w: h.sort(-1).values + x.sin(),
        lambda h, x, w: h.add(1.0).reciprocal() + x.sin(),
    ],
)
def test_a_step_that_is_not_affine_is_not_called_so(step: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    assert not affinity(step)


def test_a_cumulative_sum_is_affine() -> None:
    def program(x: Tensor) -> Tensor:
        total, sums = torch.zeros_like(x[0]), []
        for x_t in x:
            total = total + x_t * 2
            sums.append(total)
        return torch.stack(sums)

    assert [is_affine(repeat) for repeat in repeats(program, torch.rand(T, B, N))] == [True]


def test_a_buffer_that_is_read_linearly_is_affine() -> None:
    mask = torch.tril(torch.rand(T, T), -1)

    def program(x: Tensor) -> Tensor:
        y = torch.zeros_like(x)
        for t in range(T):
            y[:, t] = y @ mask[t] + x[:, t].sin()
        return y

    (repeat,) = repeats(program, torch.rand(B, T))
    assert any(isinstance(read, Prefix) for read in repeat.reads)
    assert is_affine(repeat)


def test_a_loop_without_a_carry_is_not_affine_in_it() -> None:
    def program(x: Tensor) -> Tensor:
        return torch.stack([x_t * 2 + x_t.sin() + x_t.cos() for x_t in x])

    system = fxsolve.partition(fxsolve.capture(program, torch.rand(T, B, N))).system
    assert [is_affine(repeat) for repeat in system.repeats] == [False]


# The loops of a recorded backward pass.


def rnn_step(state: tuple[Tensor, ...], x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    return (torch.tanh(x + state[0] @ w[:N].t()),)


def gru_step(state: tuple[Tensor, ...], x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    (h,) = state
    a, b, c = (h @ w[: 3 * N].t()).chunk(3, -1)
    z = torch.sigmoid(b + x)
    return ((1 - z) * torch.tanh(x + torch.sigmoid(a - x) * c) + z * h,)


def lstm_step(state: tuple[Tensor, ...], x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    h, c = state
    i, f, g, o = (h @ w.t() + x.repeat(1, 4)).chunk(4, -1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


@pytest.mark.parametrize(("step", "states"), [(rnn_step, 1), (gru_step, 1), (lstm_step, 2)])
def test_the_backward_loop_of_a_cell_is_affine_and_its_forward_loop_is_not(
    step: Callable[..., tuple[Tensor, ...]], states: int
) -> None:
    def program(x: Tensor, w: Tensor) -> Tensor:
        with torch.enable_grad():
            x, w = x.detach().requires_grad_(), w.detach().requires_grad_()
            state, outputs = (torch.zeros(B, N),) * states, []
            for x_t in x.unbind(0):
                state = step(state, x_t, w)
                outputs.append(state[0])
            return torch.autograd.grad(torch.stack(outputs).square().sum(), x)[0]

    with torch.no_grad():
        fast = fxsolve.compile(program, schedule="gs", backend="eager")
        for seed in (1, 2):
            torch.manual_seed(seed)
            x, w = torch.randn(10, B, N), torch.randn(4 * N, N) / N
            torch.testing.assert_close(fast(x, w), program(x, w))
    deep = [loop for loop in fast.report().loops if (loop.depth or 1) > 1]
    assert [loop.affine for loop in deep] == [False, True], str(fast.report())
    assert str(fast.report()).count("affine in the carry") == 1


# Against the numbers.

UNARY = ("{a}.flip(-1)", "{a} @ w", "-{a}", "{a}.cumsum(-1)", "{a}.mean(0, keepdim=True) + c", "{a} / (1 + c * c)",
         "{a} * 0.5 + 1", "{a}.t().reshape(2, 3)", "torch.tanh({a})", "{a}.abs()", "F.pad({a}[:, 1:], (0, 1))",
         "torch.where(c > 0, {a}, 0.3)", "F.softmax({a}, -1)", "{a}[:, [2, 0, 1]]")  # fmt: skip
BINARY = ("{a} + {b}", "{a} - {b}", "{a} * {b}", "torch.where(c > 0, {a}, {b})", "torch.lerp({a}, {b}, 0.3)",
          "torch.cat([{a}[:1], {b}[1:]])", "torch.addcmul({a}, {b}, c)", "torch.maximum({a}, {b})")  # fmt: skip


expressions = st.recursive(
    st.sampled_from(("h", "h", "c")),
    lambda inner: (
        st.builds(lambda form, a: f"({form.format(a=a)})", st.sampled_from(UNARY), inner)
        | st.builds(lambda form, a, b: f"({form.format(a=a, b=b)})", st.sampled_from(BINARY), inner, inner)
    ),
    max_leaves=5,
)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(expressions)
def test_what_is_called_affine_keeps_affine_combinations(expression: str) -> None:
    step = eval(f"lambda h, c, w: {expression} + h", {"torch": torch, "F": F})

    def program(x: Tensor, w: Tensor) -> Tensor:
        h = x[0] * 1
        for x_t in x.unbind(0):
            h = step(h, x_t.sin(), w) * 0.5 + x_t.cos()
        return h

    numbers = torch.randn(T, B, N, dtype=torch.float64), torch.randn(N, N, dtype=torch.float64)
    for repeat in repeats(program, *numbers):
        if is_affine(repeat):
            assert_keeps_combinations(repeat, 1e-9)
        else:
            assert any(form in expression for form in ("tanh", "abs", "softmax", "maximum", "*", "addcmul"))


def assert_keeps_combinations(repeat: Repeat, tolerance: float) -> None:
    """f(1.7 s - 0.7 s') = 1.7 f(s) - 0.7 f(s') for what is carried."""
    carried = {k for k, read in enumerate(repeat.reads) if isinstance(read, (Lag, Prefix))}
    fed = [read.output for read in repeat.reads if isinstance(read, (Lag, Prefix))]
    x, y = reads_for(repeat, 1), reads_for(repeat, 2)
    y = [b if k in carried else a for k, (a, b) in enumerate(zip(x, y, strict=True))]
    mixed = [(1.7 * a - 0.7 * b).to(a.dtype) if k in carried else a for k, (a, b) in enumerate(zip(x, y, strict=True))]
    at_x, at_y, at_mixed = (repeat.body(*reads) for reads in (x, y, mixed))
    for k in fed:
        expected = 1.7 * at_x[k] - 0.7 * at_y[k]
        torch.testing.assert_close(at_mixed[k], expected, atol=tolerance, rtol=tolerance, equal_nan=True)


def test_what_is_called_affine_in_the_table_keeps_affine_combinations() -> None:
    tried = 0
    for name, repeat in recorded():
        if not is_affine(repeat):
            continue
        try:
            assert_keeps_combinations(repeat, 1e-4)
        except AssertionError as error:
            raise AssertionError(f"{name}: {repeat.name}") from error
        except (RuntimeError, IndexError):  # a step that any masks and places will not do for
            continue
        tried += 1
    assert tried > 30
