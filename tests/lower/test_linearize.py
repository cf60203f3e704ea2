"""Linear modules: J against automatic differentiation of one step in float64."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fxsolve.errors import PartitionError
from fxsolve.ir.reads import read_order
from fxsolve.ir.spec import Invariant, Lag, Repeat
from fxsolve.lower.batch import batch
from fxsolve.lower.linearize import linearize, state_size
from fxsolve.plan.independence import find_layout
from fxsolve.solvers.layout import Layout, pack, unpack
from tests.plan.recurrences import B, N, T, affine, diagonal, gru, loop_over, lstm, recurrence, tanh_rnn, weights

L = 5

STEPS: dict[str, Callable[..., Tensor]] = {
    "tanh rnn": tanh_rnn,
    "gru": gru,
    "diagonal": diagonal,
    "affine": affine,
    "relu": lambda h, x, w, u: torch.relu(w[0] * h + x),
    "detached": lambda h, x, w, u: torch.tanh(x + h.detach() @ w) + 0.5 * h.detach(),
    "layer norm": lambda h, x, w, u: torch.tanh(F.layer_norm(h @ w, (N,)) + x),
    "softmax over the batch": lambda h, x, w, u: F.softmax(h, 0) + x,
    "batch norm": lambda h, x, w, u: F.batch_norm(h @ w, None, None, training=True) + x,
    "gather": lambda h, x, w, u: h[:, [2, 0, 1]] * x + h.flip(-1).cumsum(-1),
    "free of the carry in part": lambda h, x, w, u: torch.cat([x[:, :1].sin(), h[:, 1:] * x[:, 1:]], -1),
    "a branch": lambda h, x, w, u: torch.where(h > x, h.exp(), h * h),
}


def reads_for(repeat: Repeat) -> list[Tensor]:
    """Random values for a window of L steps, in the order of a run-time loop."""
    generator = torch.Generator().manual_seed(0)
    nodes = repeat.body.graph.find_nodes(op="placeholder")
    values = []
    for j in read_order(repeat.reads):
        spec = nodes[j].meta["spec"]
        shape = spec.shape if isinstance(repeat.reads[j], Invariant) else (L, *spec.shape)
        made = torch.randint(0, 3, shape, generator=generator)
        values.append(
            torch.randn(shape, dtype=spec.dtype, generator=generator) if spec.dtype.is_floating_point else made
        )
    return values


def direct(repeat: Repeat, layout: Layout, reads: list[Tensor], t: int, tangent: tuple[Tensor, ...]) -> Tensor:
    """J_t applied to a tangent of every carry, by the Jacobian of the step itself."""
    order = read_order(repeat.reads)
    one: dict[int, Tensor] = {
        j: value if isinstance(repeat.reads[j], Invariant) else value[t] for j, value in zip(order, reads, strict=True)
    }
    carried = [j for j, read in enumerate(repeat.reads) if isinstance(read, Lag)]

    def step(*states: Tensor) -> tuple[Tensor, ...]:
        given = {**one, **dict(zip(carried, states, strict=True))}
        outputs: Any = repeat.body(*(given[j] for j in range(len(given))))
        return tuple(outputs[number].clone() for number in layout.outputs)

    states = tuple(one[j] for j in carried)
    rows = torch.func.jacrev(step, argnums=tuple(range(len(states))))(*states)
    moved = [sum(torch.tensordot(block, v, v.dim()) for block, v in zip(row, tangent, strict=True)) for row in rows]
    return pack(layout, [value.unsqueeze(0) for value in moved])[0]


def check(repeat: Repeat, layout: Layout) -> None:
    reads = reads_for(repeat)
    *outputs, jacobian = linearize(repeat, layout, L)(*reads)
    for output, swept in zip(outputs, batch(repeat, L)(*reads), strict=True):
        assert torch.equal(output, swept)
    size = state_size(layout)
    assert jacobian.shape == ((L, *layout.batch) if size == 1 else (L, *layout.batch, size, size))
    packed = torch.randn(1, *layout.batch, size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    tangent = tuple(value[0] for value in unpack(layout, packed))
    for t in range(L):
        row = (
            jacobian[t].unsqueeze(-1) * packed[0] if size == 1 else (jacobian[t] @ packed[0].unsqueeze(-1)).squeeze(-1)
        )
        # A derivative of `detach` is zero to automatic differentiation, and yet the values depend on what it detaches.
        torch.testing.assert_close(row, direct(repeat, layout, reads, t, tangent), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", sorted(set(STEPS) - {"detached"}))
def test_the_jacobian_is_that_of_a_step(name: str) -> None:
    repeat = recurrence(loop_over(STEPS[name]), torch.randn(T, B, N, dtype=torch.float64), *weights(torch.float64))
    check(repeat, find_layout(repeat))


@pytest.mark.parametrize("name", ["gru", "diagonal"])
def test_the_jacobian_is_right_for_a_coarser_layout_too(name: str) -> None:
    repeat = recurrence(loop_over(STEPS[name]), torch.randn(T, B, N, dtype=torch.float64), *weights(torch.float64))
    check(repeat, Layout((0,), ((B, N),), (), ((0, 1),)))


def test_the_jacobian_of_two_carries_is_one_matrix() -> None:
    repeat = recurrence(lstm, torch.randn(T, B, N, dtype=torch.float64), torch.randn(N, 4 * N, dtype=torch.float64))
    layout = find_layout(repeat)
    assert state_size(layout) == 2 * N
    check(repeat, layout)


def test_what_a_program_detaches_is_not_a_constant_of_the_step() -> None:
    inputs = torch.randn(T, B, N, dtype=torch.float64), *weights(torch.float64)
    plain = recurrence(loop_over(lambda h, x, w, u: torch.tanh(x + h @ w) + 0.5 * h), *inputs)
    detached = recurrence(loop_over(STEPS["detached"]), *inputs)
    layout = find_layout(plain)
    assert find_layout(detached) == layout
    expected, found = (linearize(repeat, layout, L)(*reads_for(repeat))[-1] for repeat in (plain, detached))
    assert torch.equal(found, expected)


def test_the_diagonal_alone_is_that_of_the_whole() -> None:
    repeat = recurrence(loop_over(gru), torch.randn(T, B, N, dtype=torch.float64), *weights(torch.float64))
    layout, reads = find_layout(repeat), reads_for(repeat)
    whole, alone = (linearize(repeat, layout, L, jacobian)(*reads)[-1] for jacobian in ("full", "diagonal"))
    assert alone.shape == (L, B, N)
    assert torch.equal(alone, whole.diagonal(dim1=-2, dim2=-1))


def test_numbers_that_change_with_the_step_do_not_hinder() -> None:
    def program(x: Tensor, w: Tensor) -> Tensor:
        h = x[0]
        for t in range(T):
            h = torch.tanh(h @ w + x[t] * t) + w[t % N]
        return h

    repeat = recurrence(program, torch.randn(T, B, N, dtype=torch.float64), weights(torch.float64)[0])
    layout = find_layout(repeat)
    assert layout.batch == (B,)
    check(repeat, layout)


def test_an_op_that_cannot_be_batched_is_named() -> None:
    def step(h: Tensor, x: Tensor, w: Tensor, u: Tensor) -> Tensor:
        return torch.tanh(torch.masked_scatter(h, x > 0, h * w[0]) + x)

    repeat = recurrence(loop_over(step), torch.randn(T, B, N), *weights(torch.float32))
    with pytest.raises(PartitionError, match=r"loop0 .* cannot be batched: .*masked_scatter"):
        linearize(repeat, find_layout(repeat), L)


def test_the_jacobian_of_fused_attention_is_refused_in_words_of_the_user() -> None:
    def step(h: Tensor, x: Tensor, w: Tensor, u: Tensor) -> Tensor:
        heads = h[None, None]
        return torch.tanh(F.scaled_dot_product_attention(heads, heads, heads)[0, 0] + x)

    repeat = recurrence(loop_over(step), torch.randn(T, B, N), *weights(torch.float32))
    with pytest.raises(PartitionError, match="the Jacobian of scaled_dot_product_attention is not known"):
        linearize(repeat, find_layout(repeat), L)
