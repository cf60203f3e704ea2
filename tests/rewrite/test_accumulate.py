"""Sums over the steps leave the recurrence, bit for bit, and come to products of all steps at once."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fxsolve.capture.bits import same_bits
from fxsolve.capture.program import Program
from fxsolve.ir.evaluate import evaluate
from fxsolve.ir.reads import has_carry
from fxsolve.ir.spec import Block, Equation, Lag, Repeat, Stacked, System
from fxsolve.ir.verify import verify_system
from fxsolve.rewrite.sums.fold import fold_sums, is_sum
from fxsolve.stages import capture, partition
from tests.loops.programs import given_values

aten = torch.ops.aten
T, B, D, H = 9, 2, 3, 4
BOUND = 1e-12


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64) / 2


def gradients_of(loss: Callable[..., Tensor], inputs: Sequence[Tensor], parameters: Sequence[Tensor]) -> Program:
    """The recorded program that computes the loss of inputs and parameters, and the gradients of the parameters."""

    def program(*arguments: Tensor) -> tuple[Tensor, ...]:
        given, wanted = arguments[: len(inputs)], arguments[len(inputs) :]
        leaves = [parameter.detach().requires_grad_() for parameter in wanted]
        value = loss(*given, *leaves)
        return value.detach(), *torch.autograd.grad(value, leaves)

    return capture(program, *inputs, *parameters)


def system_of(program: Program) -> System:
    return partition(program).system


def folded(system: System) -> System:
    """The system with every sum solved at once."""
    equations: list[Equation] = []
    for equation in system.equations:
        equations += fold_sums(equation) if isinstance(equation, Repeat) and is_sum(equation) else [equation]
    return replace(system, equations=tuple(equations))


def assert_solved(program: Program) -> System:
    """The split system is the program bit for bit; the folded one up to rounding, with no sum left."""
    system = system_of(program)
    direct = folded(system)
    for one in (system, direct):
        verify_system(one)
    with torch.no_grad():
        exact, rounded = (evaluate(one, given_values(program)) for one in (system, direct))
    for value, other, expected in zip(exact, rounded, program.example.outputs, strict=False):
        assert same_bits(value, expected)
        assert other.dtype == expected.dtype
        torch.testing.assert_close(other, expected, rtol=BOUND, atol=BOUND)
    assert not any(map(is_sum, direct.repeats))
    return direct


def recurrences(system: System) -> list[Repeat]:
    return [repeat for repeat in system.repeats if has_carry(repeat)]


def ops_of(equation: Equation) -> list[Any]:
    """The computations of an equation, without views and without picking one of several results."""
    targets = [node.target for node in equation.body.graph.nodes if node.op == "call_function"]
    return [target for target in targets if isinstance(target, torch._ops.OpOverload) and not target.is_view]


def blocks_of_sums(system: System) -> list[Block]:
    return [one for one in system.equations if isinstance(one, Block) and one.name.endswith("_totals")]


def count(system: System, target: Any) -> int:
    nodes = [node for block in blocks_of_sums(system) for node in block.body.graph.nodes]
    return sum(node.target is target for node in nodes)


def step_shapes(system: System) -> set[tuple[int, ...]]:
    """The shapes of the values that any repeat computes or hands on in a step, but for its placeholders."""
    nodes = [node for repeat in system.repeats for node in repeat.body.graph.nodes if node.op == "call_function"]
    return {tuple(node.meta["spec"].shape) for node in nodes if hasattr(node.meta["spec"], "shape")}


# Recurrent networks.


def elman(x: Tensor, w: Tensor, u: Tensor, b: Tensor) -> Tensor:
    """Matrix-vector products, a loss at every step."""
    h, loss = x.new_zeros(H), x.new_zeros(())
    for x_t in x.detach():
        h = F.softplus(w @ h + u @ x_t + b)
        loss = loss + (h**2).mean()
    return loss


def elman_batch(x: Tensor, w: Tensor, u: Tensor, b: Tensor) -> Tensor:
    h, loss = x.new_zeros(x.shape[1], H), x.new_zeros(())
    for t in range(x.shape[0]):
        h = torch.tanh(F.linear(h, w, b) + x[t] @ u.t())
        loss = loss + (h**2).sum()
    return loss


def gru(x: Tensor, w: Tensor, u: Tensor, b: Tensor) -> Tensor:
    h, states = x.new_zeros(x.shape[1], H), []
    for t in range(x.shape[0]):
        z, n = (F.linear(h, w, b) + F.linear(x[t], u)).chunk(2, -1)
        z = torch.sigmoid(z)
        h = z * h + (1 - z) * torch.tanh(n)
        states.append(h)
    return torch.stack(states).pow(2).sum()


def of_cell(kind: type[nn.Module]) -> tuple[Callable[..., Tensor], list[Tensor]]:
    torch.manual_seed(0)
    cell = kind(D, H).double()
    names = [name for name, _ in cell.named_parameters()]

    def loss(x: Tensor, *parameters: Tensor) -> Tensor:
        h = x.new_zeros(B, H)
        state = (h, h) if kind is nn.LSTMCell else h
        total = x.new_zeros(())
        for t in range(T):
            state = torch.func.functional_call(cell, dict(zip(names, parameters, strict=True)), (x[t], state))
            total = total + (state[0] if isinstance(state, tuple) else state).pow(2).sum()
        return total

    return loss, [parameter.detach().clone() for parameter in cell.parameters()]


def test_the_backward_pass_of_a_network_without_batch_is_three_ops_a_step() -> None:
    program = gradients_of(elman, [numbers(T, D)], [numbers(H, H), numbers(H, D), numbers(H)])
    direct = assert_solved(program)
    forward, backward = recurrences(direct)
    assert ops_of(forward) == [aten.mv.default, aten.add.Tensor, aten.add.Tensor, aten.softplus.default]
    assert ops_of(backward) == [aten.add.Tensor, aten.softplus_backward.default, aten.mv.default]
    assert (forward.length, backward.length) == (T, T - 2)  # the first and the last gradient are computed otherwise
    assert count(direct, torch.tensordot) == 2  # one product for each weight
    assert not {(H, H), (H, D)} & step_shapes(direct)


def test_the_backward_pass_of_a_batch_has_one_product_for_each_weight() -> None:
    program = gradients_of(elman_batch, [numbers(T, B, D)], [numbers(H, H), numbers(H, D), numbers(H)])
    direct = assert_solved(program)
    _, backward = recurrences(direct)
    assert ops_of(backward) == [aten.add.Tensor, aten.tanh_backward.default, aten.mm.default]
    assert count(direct, torch.tensordot) == 2
    assert not {(H, H), (H, D), (D, H)} & step_shapes(direct)


def test_the_gates_of_a_gru_leave_one_product_in_the_backward_recurrence() -> None:
    program = gradients_of(gru, [numbers(T, B, D)], [numbers(2 * H, H), numbers(2 * H, D), numbers(2 * H)])
    direct = assert_solved(program)
    backward = recurrences(direct)[-1]
    assert ops_of(backward).count(aten.mm.default) == 1
    assert count(direct, torch.tensordot) == 2
    assert not {(2 * H, H), (H, 2 * H), (2 * H, D), (D, 2 * H), (2 * H,)} & step_shapes(direct)


@pytest.mark.parametrize("kind", [nn.RNNCell, nn.GRUCell, nn.LSTMCell])
def test_cells_of_torch_keep_one_product_a_step_and_read_stacks(kind: type[nn.Module]) -> None:
    loss, parameters = of_cell(kind)
    direct = assert_solved(gradients_of(loss, [numbers(T, B, D)], parameters))
    forward, backward = recurrences(direct)
    assert ops_of(forward).count(aten.addmm.default) == 1
    assert ops_of(backward).count(aten.mm.default) == 1
    assert aten.sum.dim_IntList not in ops_of(backward)
    assert count(direct, torch.tensordot) == 2
    assert not any(isinstance(read, Stacked) for repeat in direct.repeats for read in repeat.reads)


def test_a_readout_at_every_step_is_one_product_too() -> None:
    def loss(x: Tensor, w: Tensor, v: Tensor, c: Tensor) -> Tensor:
        h, total = x.new_zeros(B, D), x.new_zeros(())
        for t in range(T):
            h = torch.tanh(h @ w + x[t])
            total = total + ((F.linear(h, v, c) - x[t]) ** 2).mean()
        return total

    program = gradients_of(loss, [numbers(T, B, D)], [numbers(D, D), numbers(D, D), numbers(D)])
    direct = assert_solved(program)
    assert count(direct, torch.tensordot) == 2
    _, backward = recurrences(direct)
    assert ops_of(backward) == [aten.add.Tensor, aten.tanh_backward.default, aten.mm.default]


def test_layers_with_their_own_weights_add_nothing_up() -> None:
    def loss(x: Tensor, *weights: Tensor) -> Tensor:
        for weight in weights:
            x = x + torch.tanh(x @ weight)
        return x.sum()

    program = gradients_of(loss, [numbers(B, H)], [numbers(H, H) + k for k in range(T)])
    system = system_of(program)
    assert not any(map(is_sum, system.repeats))
    verify_system(system)


# Tensors that a loop reads entry by entry.


def test_the_gradient_of_a_sequence_is_written_once() -> None:
    def loss(x: Tensor) -> Tensor:
        h = x.new_zeros(B, D)
        for t in range(T):
            h = torch.tanh(h * 0.5 + x[:, t])
        return h.pow(2).sum()

    direct = assert_solved(gradients_of(loss, [], [numbers(B, T, D)]))
    assert count(direct, aten.index_copy.default) == 1
    assert (B, T, D) not in step_shapes(direct)


def test_entries_read_twice_are_added() -> None:
    def loss(x: Tensor) -> Tensor:
        h = x.new_zeros(D)
        for t in range(2 * T):
            h = torch.tanh(h * 0.5 + x[t % T])
        return h.pow(2).sum()

    direct = assert_solved(gradients_of(loss, [], [numbers(T, D)]))
    assert count(direct, aten.index_add.default) == 1


@pytest.mark.parametrize("width", [1, 2])
def test_windows_that_overlap_are_added(width: int) -> None:
    def loss(x: Tensor) -> Tensor:
        h = x.new_zeros(B, width)
        for t in range(T):
            h = torch.tanh(h * 0.5 + x[:, t : t + width])
        return h.pow(2).sum()

    direct = assert_solved(gradients_of(loss, [], [numbers(B, T + width - 1)]))
    assert count(direct, aten.index_copy.default if width == 1 else aten.index_add.default) == 1


def test_one_entry_read_at_every_step_is_added_up_first() -> None:
    def loss(x: Tensor) -> Tensor:
        h = x.new_zeros(D)
        for _ in range(T):
            h = torch.tanh(h * 0.5 + x[1])
        return h.pow(2).sum()

    direct = assert_solved(gradients_of(loss, [], [numbers(3, D)]))
    assert count(direct, aten.select_backward.default) <= 1


def test_the_gradient_of_an_embedding_is_one_call() -> None:
    tokens = torch.randint(0, 5, (T, B), generator=torch.Generator().manual_seed(0))

    def loss(tokens: Tensor, table: Tensor) -> Tensor:
        h = table.new_zeros(B, H)
        for t in range(T):
            h = torch.tanh(h * 0.5 + F.embedding(tokens[t], table, padding_idx=0))
        return h.pow(2).sum()

    direct = assert_solved(gradients_of(loss, [tokens], [numbers(5, H)]))
    assert count(direct, aten.embedding_dense_backward.default) == 1


# Sums in programs without a backward pass.


def assert_sums(program: Callable[..., Any], *inputs: Tensor) -> System:
    with torch.no_grad():
        return assert_solved(capture(program, *inputs))


def test_a_loss_leaves_the_recurrence_and_the_state_stays() -> None:
    def program(x: Tensor) -> tuple[Tensor, Tensor]:
        h, total = torch.zeros(D, dtype=x.dtype), x.new_zeros(())
        for x_t in x:
            h = torch.tanh(h * 0.5 + x_t)
            total = total + (h**2).sum()
        return h, total

    (recurrence,) = recurrences(assert_sums(program, numbers(T, D)))
    assert ops_of(recurrence) == [aten.mul.Tensor, aten.add.Tensor, aten.tanh.default]
    assert sum(isinstance(read, Lag) for read in recurrence.reads) == 1


def test_integer_sums_are_exact_and_need_no_recurrence() -> None:
    def program(x: Tensor) -> tuple[Tensor, Tensor]:
        total, positive = torch.zeros(D, dtype=torch.int32), torch.zeros(D, dtype=torch.int64)
        for t, x_t in enumerate(x):
            total = total - x_t * t
            positive = positive + (x_t > 0)
        return total, positive

    x = torch.randint(-(2**30), 2**30, (T, D), dtype=torch.int32, generator=torch.Generator().manual_seed(0))
    captured = capture(program, x)
    direct = folded(system_of(captured))
    for value, expected in zip(evaluate(direct, given_values(captured)), captured.example.outputs, strict=True):
        assert same_bits(value, expected)
    assert recurrences(direct) == []


def test_outer_products_are_one_product() -> None:
    def program(x: Tensor, y: Tensor) -> Tensor:
        total = x.new_zeros(D, H)
        for t in range(T):
            total = total + torch.outer(x[t], y[t])
        return total

    direct = assert_sums(program, numbers(T, D), numbers(T, H))
    assert recurrences(direct) == []
    assert count(direct, torch.tensordot) == 1
    assert (D, H) not in step_shapes(direct)


def test_several_terms_a_step_with_signs_and_factors() -> None:
    def program(x: Tensor, y: Tensor) -> Tensor:
        total = x.new_ones(D, D)
        for t in range(T):
            total = torch.add(x[t] @ y[t] + total, y[t].t() @ x[t].t(), alpha=3)
            total = torch.sub(total, (x[t] * 2).sum(1), alpha=2) - y[t].mean(1, keepdim=True).t()[:, :D] + 1.5
        return total

    assert recurrences(assert_sums(program, numbers(T, D, D), numbers(T, D, D) * 2)) == []


def test_what_a_step_reads_is_no_sum() -> None:
    def program(x: Tensor) -> Tensor:
        total = x.new_zeros(D)
        for x_t in x:
            total = total + torch.tanh(total) * x_t
        return total

    assert not any(map(is_sum, system_of(capture(program, numbers(T, D))).repeats))


def test_sums_whose_steps_are_all_wanted_stay() -> None:
    def program(x: Tensor) -> Tensor:
        total, totals = x.new_zeros(D), []
        for x_t in x:
            total = total + x_t.exp()
            totals.append(total)
        return torch.stack(totals)

    assert not any(map(is_sum, system_of(capture(program, numbers(T, D))).repeats))


def test_sums_that_are_wanted_between_two_terms_stay() -> None:
    def program(x: Tensor) -> tuple[Tensor, Tensor]:
        total, halves = x.new_zeros(D), []
        for x_t in x:
            total = total + x_t.exp()
            halves.append(total)
            total = total + x_t.sin()
        return torch.stack(halves), total

    captured = capture(program, numbers(T, D))
    system = system_of(captured)
    assert not any(map(is_sum, system.repeats))
    for value, expected in zip(evaluate(system, given_values(captured)), captured.example.outputs, strict=True):
        assert same_bits(value, expected)


@pytest.mark.parametrize("change", [lambda v, w: v * w, torch.logical_or, lambda v, w: w - v])
def test_other_updates_are_no_sums(change: Callable[[Tensor, Tensor], Tensor]) -> None:
    def program(x: Tensor) -> Tensor:
        total = torch.ones(D, dtype=torch.bool) if change is torch.logical_or else x.new_ones(D)
        for x_t in x:
            total = change(total, torch.sin(x_t) > 0 if change is torch.logical_or else torch.sin(x_t))
        return total

    assert not any(map(is_sum, system_of(capture(program, numbers(T, D))).repeats))


# Random terms.

FACTORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mm": lambda a, b: a @ b.t(),
    "mm of transposes": lambda a, b: (a.t() @ b)[: a.shape[0]] if a.shape[1] >= a.shape[0] else a.t() @ b,
    "t of t": lambda a, b: (b @ a.t()).t().t(),
    "mv": lambda a, b: torch.mv(a, b[0]),
    "dot": lambda a, b: torch.dot(a[0], b[0]),
    "outer": lambda a, b: a[0].view(-1, 1) * b[0],
    "bmm": lambda a, b: torch.bmm(a.unsqueeze(1), b.unsqueeze(2)).squeeze(2),
    "batched mm": lambda a, b: torch.bmm(a.expand(2, *a.shape), b.t().expand(2, *b.t().shape)),
    "addmm": lambda a, b: torch.addmm(b[:, 0], a, b.t(), alpha=2, beta=0.5),
    "sum of addmm": lambda a, b: torch.addmm(b[:, 0], a, b.t()).sum(0),
    "addmv": lambda a, b: torch.addmv(b[:, 1], a, b[0], beta=2),
    "baddbmm": lambda a, b: torch.baddbmm(b[0, 0], a.unsqueeze(0), b.t().unsqueeze(0)),
    "broadcast": lambda a, b: a.unsqueeze(1) * b.unsqueeze(0),
    "summed product": lambda a, b: (a.unsqueeze(1) * b.unsqueeze(0)).sum(-1),
    "mean of product": lambda a, b: (a * b).mean(),
    "column": lambda a, b: (a * b[:, :1]).sum(0, keepdim=True),
    "mean": lambda a, _: a.mean(1, keepdim=True).neg() / 3,
    "sum": lambda a, _: a.sum(0, keepdim=True).view(-1) * 2,
    "permuted": lambda a, b: (a.unsqueeze(1) * b.unsqueeze(0)).permute(2, 0, 1).sum(1),
    "square": lambda a, _: a.t() @ a,
    "pointwise": lambda a, b: torch.sin(a) * b,
}


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(FACTORS)), st.integers(5, 8), st.integers(1, 4), st.integers(2, 4), st.booleans())
def test_sums_of_products_are_right_for_all_shapes(name: str, steps: int, rows: int, columns: int, carry: bool) -> None:
    def program(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.zeros_like(x[0])
        total = torch.zeros_like(FACTORS[name](x[0], y[0]))
        for t in range(steps):
            h = torch.tanh(h * 0.5 + x[t]) if carry else x[t]
            total = total + FACTORS[name](h, y[steps - 1 - t])
        return total, h

    direct = assert_sums(program, numbers(steps, rows, columns), numbers(steps, rows, columns) * 2)
    assert len(recurrences(direct)) == carry


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 3), st.integers(5, 9), st.integers(1, 5), st.sampled_from([torch.tanh, torch.sigmoid, F.softplus])
)
def test_gradients_are_right_for_all_shapes(
    batch: int, steps: int, size: int, change: Callable[[Tensor], Tensor]
) -> None:
    def loss(x: Tensor, w: Tensor, u: Tensor, b: Tensor) -> Tensor:
        h, total = x.new_zeros(batch, size), x.new_zeros(())
        for t in range(steps):
            h = change(F.linear(h, w, b) + x[:, t] @ u)
            total = total + (h**2).mean()
        return total

    direct = assert_solved(
        gradients_of(loss, [numbers(batch, steps, D)], [numbers(size, size), numbers(D, size), numbers(size)])
    )
    _, backward = recurrences(direct)
    assert len(ops_of(backward)) == 3


@pytest.mark.parametrize("norm", ["layer", "group"])
def test_gradients_of_a_norm_on_the_state_leave_the_recurrence(norm: str) -> None:
    def loss(x: Tensor, w: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        h = x[0]
        for x_t in x:
            z = torch.tanh(h @ w + x_t)
            h = F.layer_norm(z, (H,), scale, shift) if norm == "layer" else F.group_norm(z, 2, scale, shift)
        return h.square().sum()

    program = gradients_of(loss, [numbers(T, B, H)], [numbers(H, H), numbers(H), numbers(H) + 1])
    system = system_of(program)
    sums = [repeat for repeat in system.repeats if is_sum(repeat)]
    assert sum(isinstance(read, Lag) for repeat in sums for read in repeat.reads) == 3  # the weight, scale and shift
    found = evaluate(folded(system), given_values(program))
    for ours, recorded in zip(found, program.example.outputs, strict=False):
        torch.testing.assert_close(ours, recorded, rtol=BOUND, atol=BOUND)
