import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fxsolve.errors import FxSolveError
from fxsolve.solvers.gauss_seidel import gauss_seidel, stack_rows
from fxsolve.solvers.loop import Buffer, Loop, LoopLag
from fxsolve.solvers.solution import Solution, observe
from tests.solvers.cases import Case, cases


class Affine(nn.Module):
    """s_t = sum_j s_(t-d_j) A_j + x_t."""

    def __init__(self, maps: Tensor) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, *reads: Tensor) -> tuple[Tensor]:
        *lagged, x = reads
        return (sum((s @ a for s, a in zip(lagged, self.maps, strict=True)), x),)


class Shift(nn.Module):
    """Writes twice the entry before it, and returns that entry as it found it: a view of the buffer."""

    def forward(self, buffer: Tensor, t: int) -> tuple[Tensor, Tensor]:
        entry = buffer.select(1, t)
        return 2 * entry, entry


class Count(nn.Module):
    def forward(self, s: Tensor, step: int) -> tuple[Tensor]:
        return (s + step,)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 8), st.lists(st.integers(1, 4), min_size=1, max_size=3, unique=True), st.integers(0, 10**6))
def test_an_affine_recurrence_solves_its_dense_triangular_system(length: int, distances: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    maps, inputs = 0.4 * randn(len(distances), 2, 2), randn(length, 2)
    before = randn(4, 2)
    matrix, right = torch.eye(2 * length, dtype=torch.float64), inputs.clone()
    for t in range(length):
        for distance, a in zip(distances, maps, strict=True):
            if t >= distance:
                matrix[2 * t : 2 * t + 2, 2 * (t - distance) : 2 * (t - distance) + 2] -= a.T
            else:
                right[t] += before[4 + t - distance] @ a
    expected = torch.linalg.solve(matrix, right.reshape(-1)).reshape(length, 2)
    loop = Loop(Affine(maps), length, tuple(LoopLag(0, d) for d in distances), stacked=(0,), last=(0,))
    initial = tuple(tuple(before[4 - d :]) for d in distances)
    stack, last = gauss_seidel(loop, initial, (), (inputs,), ())
    torch.testing.assert_close(stack, expected, rtol=1e-10, atol=1e-10)
    assert torch.equal(last, stack[-1])


@settings(max_examples=40, deadline=None)
@given(cases(torch.float64, "tanh"))
def test_the_arguments_keep_their_values(case: Case) -> None:
    before = [buffer.clone() for buffer in case.buffers]
    case.sequential()
    assert all(map(torch.equal, case.buffers, before))


@settings(max_examples=40, deadline=None)
@given(cases(torch.int64, "modulo"))
def test_stacks_lasts_and_buffers_agree_with_one_another(case: Case) -> None:
    everything = tuple(range(len(case.loop.body.lag_weights)))
    loop = Loop(case.loop.body, case.loop.length, case.loop.lags, case.loop.buffer_specs, everything, everything)
    results = gauss_seidel(loop, case.initial, case.buffers, case.per_step, case.shared)
    count = len(everything)
    stacks, lasts, buffers = results[:count], results[count : 2 * count], results[2 * count :]
    assert all(torch.equal(stack[-1], last) for stack, last in zip(stacks, lasts, strict=True))
    for spec, first, final in zip(loop.buffer_specs, case.buffers, buffers, strict=True):
        expected = first.clone()
        for t, index in enumerate(spec.index):
            expected.select(spec.dim, index).copy_(stacks[spec.output][t])
        assert torch.equal(final, expected)


def test_an_output_that_is_a_view_of_the_buffer_keeps_its_value_after_later_writes() -> None:
    loop = Loop(Shift(), 3, (), (Buffer(0, 1, (1, 2, 3)),), stacked=(1,), last=(1,))
    start = torch.tensor([[1.0, 0, 0, 0]])
    stack, last, final = gauss_seidel(loop, (), (start,), ((0, 1, 2),), ())
    assert stack.tolist() == [[1.0], [2.0], [4.0]]
    assert last.tolist() == [4.0]
    assert final.tolist() == [[1.0, 2.0, 4.0, 8.0]]


def test_a_view_of_an_entry_that_is_overwritten_keeps_the_old_value() -> None:
    loop = Loop(Shift(), 2, (), (Buffer(0, 1, (0, 1)),), stacked=(1,))
    stack, final = gauss_seidel(loop, (), (torch.tensor([[1.0, 5.0]]),), ((0, 1),), ())
    assert stack.tolist() == [[1.0], [5.0]]
    assert final.tolist() == [[2.0, 10.0]]


def test_python_numbers_arrive_one_by_one() -> None:
    loop = Loop(Count(), 3, (LoopLag(0, 1),), stacked=(0,))
    (stack,) = gauss_seidel(loop, ((torch.tensor(0),),), (), ((1, 10, 100),), ())
    assert stack.tolist() == [1, 11, 111]


def test_the_solution_counts_the_steps() -> None:
    loop = Loop(Count(), 3, (LoopLag(0, 1),), last=(0,), name="cell")
    with observe() as seen:
        gauss_seidel(loop, ((torch.tensor(0),),), (), ((1, 10, 100),), ())
    assert seen == [Solution("cell", "gauss_seidel", 3, 3, "sequential", prefix=3)]


def test_a_per_step_input_of_the_wrong_length_is_an_error() -> None:
    loop = Loop(Count(), 3, (LoopLag(0, 1),), last=(0,))
    with pytest.raises(ValueError, match="shorter"):
        gauss_seidel(loop, ((torch.tensor(0),),), (), ((1, 10),), ())


def test_a_loop_without_steps_is_refused() -> None:
    with pytest.raises(FxSolveError, match="cell has 0 steps; a loop needs at least one"):
        Loop(Count(), 0, name="cell")


def test_rows_with_gaps_that_want_gradients_are_stacked() -> None:
    rows = [torch.randn(3, 8, requires_grad=True)[:, :4] for _ in range(5)]
    stacked = stack_rows(rows)
    assert torch.equal(stacked, torch.stack(rows))
    assert stacked.requires_grad
