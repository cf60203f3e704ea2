"""Independent dimensions of a carry: what is proved, checked against the true Jacobian."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

import fxsolve
from fxsolve.errors import PartitionError
from fxsolve.ir.spec import Lag, Repeat
from fxsolve.plan.facts import find_facts
from fxsolve.plan.independence import find_layout
from fxsolve.solvers.layout import Layout, pack
from tests.plan.recurrences import B, N, Step, T, gru, loop_over, lstm, recurrence, weights

Cell = Callable[..., Any]


def layout_of(step: Step, *shape: int) -> Layout:
    """The layout of h <- step(h, x_t, w) with h of this shape."""
    x = torch.randn(T, *(shape or (B, N)), dtype=torch.float64)
    return find_layout(recurrence(loop_over(step), x, *weights(torch.float64)))


@pytest.mark.parametrize(
    "step",
    [
        lambda h, x, w, u: torch.sigmoid(w[0]) * h + x,  # LRU
        lambda h, x, w, u: torch.relu(w[0] * h + x),  # IndRNN
        lambda h, x, w, u: torch.where(h > 0, h * x, torch.tanh(h)),
        lambda h, x, w, u: torch.stack([h, x]).sum(0).clamp(-1, 1),
        lambda h, x, w, u: h.view(-1).sin().view(B, N) + x,
        lambda h, x, w, u: h.t().exp().t() * x,
    ],
)
def test_an_elementwise_step_is_diagonal(step: Step) -> None:
    layout = layout_of(step)
    assert layout == Layout((0,), ((B, N),), (B, N), ((0, 1),))


@pytest.mark.parametrize(
    "step",
    [
        lambda h, x, w, u: torch.tanh(x + h @ w),
        lambda h, x, w, u: torch.tanh(x + F.linear(h, w, w[0])),
        lambda h, x, w, u: torch.tanh(x + (w @ h.t()).t()),
        lambda h, x, w, u: gru(h, x, w, u),
        lambda h, x, w, u: x + F.softmax(h, -1) * h.mean(-1, keepdim=True),
        lambda h, x, w, u: torch.tanh(F.layer_norm(h @ w, (N,), w[0], w[1]) + x),
        lambda h, x, w, u: torch.cat([h[:, 1:], h[:, :1]], -1) + x,
        lambda h, x, w, u: torch.einsum("bi,ij->bj", h, w) + h.cumsum(-1) * x,
        lambda h, x, w, u: torch.bmm(h.unsqueeze(1), (x.unsqueeze(2) * w)).squeeze(1).tanh(),
        lambda h, x, w, u: h.sort(-1).values + x,
    ],
)
def test_a_step_that_mixes_features_keeps_the_batch_apart(step: Step) -> None:
    assert layout_of(step) == Layout((0,), ((B, N),), (B,), ((0, 1),))


@pytest.mark.parametrize(
    "step",
    [
        lambda h, x, w, u: torch.tanh(F.batch_norm(h @ w, None, None, training=True) + x),
        lambda h, x, w, u: torch.tanh(F.softmax(h @ w, 0) + x),
        lambda h, x, w, u: torch.tanh((h @ w).mean(0) + x),
        lambda h, x, w, u: torch.tanh(h @ w + h.flip(0) + x),
        lambda h, x, w, u: torch.tanh(h @ w + h[:1] + x),
        lambda h, x, w, u: (h @ (h.t() @ x)).tanh(),
        lambda h, x, w, u: h.reshape(N, B).t() + x + h,
        lambda h, x, w, u: (h @ w).roll(1, 0) + x,
        lambda h, x, w, u: h @ w + h[[1, 0, 2, 3]] + x,
        lambda h, x, w, u: h @ w + (h > 0).any() * x,
    ],
)
def test_a_step_that_mixes_the_batch_is_not_taken_apart(step: Step) -> None:
    assert layout_of(step).batch == ()


def test_columns_are_kept_apart_where_only_the_batch_mixes() -> None:
    assert layout_of(lambda h, x, w, u: torch.tanh(h.mean(0) + x)) == Layout((0,), ((B, N),), (N,), ((1, 0),))


def test_heads_are_blocks() -> None:
    layout = layout_of(lambda h, x, w, u: torch.tanh(torch.einsum("bhi,hij->bhj", h, torch.stack([w, u])) + x), B, 2, N)
    assert layout == Layout((0,), ((B, 2, N),), (B, 2), ((0, 1, 2),))


def test_a_product_over_rows_of_a_sequence_keeps_both_of_its_dimensions_apart() -> None:
    layout = layout_of(lambda h, x, w, u: torch.tanh(F.linear(h, w) + x), B, 3, N)
    assert layout == Layout((0,), ((B, 3, N),), (B, 3), ((0, 1, 2),))


def test_two_carries_share_their_independent_dimensions() -> None:
    x = torch.randn(T, B, N)
    layout = find_layout(recurrence(lstm, x, torch.randn(N, 4 * N)))
    assert layout == Layout((0, 1), ((B, N), (B, N)), (B,), ((0, 1), (0, 1)))


def test_many_carries_are_matched_without_trying_all_their_dimensions() -> None:
    """Each dimension of one with each of all others: 2^40 ways."""
    count = 40
    wave = [torch.sin if k.bit_count() % 2 else torch.cos for k in range(count)]  # nothing comes three times in a row

    def program(x: Tensor) -> Tensor:
        states = [x[0] * (k + 1) for k in range(count)]
        for x_t in x.unbind(0):
            states = [wave[k](states[k] + states[k - 1]) + x_t for k in range(count)]
        return torch.stack(states)

    layout = find_layout(recurrence(program, torch.randn(T, N, N)))
    assert len(layout.shapes) == count
    assert layout.batch == (N, N)


def test_a_carry_that_is_transposed_is_matched_with_the_other() -> None:
    def program(x: Tensor) -> Tensor:
        h, c = torch.zeros(B, N), torch.zeros(N, B)
        for x_t in x.unbind(0):
            h, c = torch.tanh(x_t + c.t()), torch.sin(c) + h.t()
        return h + c.t()

    layout = find_layout(recurrence(program, torch.randn(T, B, N)))
    assert layout.orders == ((0, 1), (1, 0))
    assert layout.shapes == (layout.batch, layout.batch[::-1])


def refused(program: Cell, *inputs: Any) -> str:
    with pytest.raises(PartitionError) as caught:
        find_layout(recurrence(program, *inputs))
    return str(caught.value)


def test_a_loop_without_such_a_state_says_why() -> None:
    def two_back(x: Tensor) -> Tensor:
        a, b = x[0], x[1]
        for x_t in x:
            a, b = b, torch.sin(a) + x_t
        return b

    def buffer(x: Tensor) -> Tensor:
        y = torch.zeros_like(x)
        for t in range(T):
            y[t] = torch.tanh(y.sum(0) + x[t])
        return y

    def counter(x: Tensor) -> Tensor:
        k = torch.zeros(N, dtype=torch.int64)
        for x_t in x:
            k = k * 2 + (x_t > 0).long()
        return k

    def mixed(x: Tensor) -> tuple[Tensor, Tensor]:
        h, c = x[0], x[0].double()
        for x_t in x:
            h, c = torch.tanh(h + x_t), torch.sin(c) + h
        return h, c

    x = torch.randn(T, N)
    assert "a step reads 2 steps back" in refused(two_back, x)
    assert "a buffer is written step by step" in refused(buffer, x)
    assert "the state is not made of real numbers" in refused(counter, x)
    assert "different types: torch.float32, torch.float64" in refused(mixed, x)


def test_what_is_found_is_said_in_words() -> None:
    def found(step: Step) -> tuple[str, str, bool]:
        facts = find_facts(recurrence(loop_over(step), torch.randn(T, B, N), *weights(torch.float32)))
        return facts.structure, facts.bounds, facts.affine

    assert found(lambda h, x, w, u: torch.relu(w[0] * h + x)) == ("diagonal", "[0, inf]", False)
    assert found(lambda h, x, w, u: torch.tanh(h @ w + x)) == (f"{B} blocks of {N} x {N}", "[-1, 1]", False)
    assert found(lambda h, x, w, u: h @ w + h.mean(0) + x) == (f"dense, {B * N} x {B * N}", "", True)


# Against the numbers.

UNARY = ("{a}.flip(-1)", "{a} @ w", "torch.tanh({a})", "{a}.cumsum(0)", "{a}.mean(0, keepdim=True) + c",
         "{a}.sum(-1, keepdim=True) * c", "{a}.t().reshape(4, 3)", "F.pad({a}[:, 1:], (0, 1))", "F.softmax({a}, 0)",
         "{a}[:, [2, 0, 1]]", "{a}[1:2] + c", "{a}.view(2, 6).flip(0).view(4, 3)", "F.layer_norm({a}, (3,))",
         "{a}.view(2, 2, 3).sin().sum(1).repeat(2, 1)", "torch.cat([{a}[2:], {a}[:2]])", "{a}.clamp(-0.5, 0.5)",
         "torch.roll({a}, 1, 1)", "{a}.reshape(-1)[::2].repeat_interleave(2).view(4, 3)", "{a}.tril()",
         "{a}.index_select(0, torch.tensor([3, 1, 0, 2]))", "{a}.unsqueeze(1).expand(4, 2, 3).prod(1)")  # fmt: skip
BINARY = ("{a} + {b}", "{a} * {b}", "torch.where(c > 0, {a}, {b})", "torch.cat([{a}[:2], {b}[2:]])",
          "torch.addcmul({a}, {b}, c)", "torch.maximum({a}, {b})", "{a} @ ({b}.t() @ c)",
          "torch.bmm({a}.unsqueeze(2), {b}.unsqueeze(1)).sum(1)", "torch.stack([{a}, {b}], 1).amax(1)")  # fmt: skip

expressions = st.recursive(
    st.sampled_from(("h", "h", "c")),
    lambda inner: (
        st.builds(lambda form, a: f"({form.format(a=a)})", st.sampled_from(UNARY), inner)
        | st.builds(lambda form, a, b: f"({form.format(a=a, b=b)})", st.sampled_from(BINARY), inner, inner)
    ),
    max_leaves=4,
)


def jacobian(repeat: Repeat, layout: Layout) -> Tensor:
    """d s_t / d s_{t-1} of one step by automatic differentiation, (states, states) in packed coordinates."""
    generator = torch.Generator().manual_seed(0)
    specs = [node.meta["spec"] for node in repeat.body.graph.find_nodes(op="placeholder")]
    reads = [
        torch.randn(spec.shape, dtype=torch.float64, generator=generator)
        if spec.dtype is torch.float64
        else torch.randint(0, 2, spec.shape, generator=generator).to(spec.dtype)
        for spec in specs
    ]
    (carried,) = (k for k, read in enumerate(repeat.reads) if isinstance(read, Lag))

    def advance(state: Tensor) -> Tensor:
        outputs = repeat.body(*reads[:carried], state, *reads[carried + 1 :])
        return pack(layout, [outputs[layout.outputs[0]].unsqueeze(0)]).flatten()

    order = [0, *(dim + 1 for dim in layout.orders[0])]
    dense = torch.func.jacrev(advance)(reads[carried])
    return dense.permute(*order).reshape(len(dense), -1)


@settings(
    max_examples=120, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck), derandomize=True
)
@given(expressions)
def test_what_is_called_independent_has_no_derivative_across(expression: str) -> None:
    step = eval(f"lambda h, c, w, u: {expression} + 0 * h", {"torch": torch, "F": F})
    x = torch.randn(T, B, N, dtype=torch.float64)
    with torch.no_grad():
        system = fxsolve.partition(fxsolve.capture(loop_over(step), x, *weights(torch.float64))).system
    for repeat in system.repeats:
        if sum(isinstance(read, Lag) for read in repeat.reads) != 1:
            continue
        layout = find_layout(repeat)
        places = torch.arange(B * N) // (B * N // max(1, torch.tensor(layout.batch).prod().int().item()))
        across = places[:, None] != places[None]
        assert not jacobian(repeat, layout)[across].any(), (expression, layout)
