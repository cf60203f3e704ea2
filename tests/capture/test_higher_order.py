"""torch's loop operators are recorded step by step, and rolled like loops written in Python."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._higher_order_ops import associative_scan, scan, while_loop
from torch._higher_order_ops.cond import cond_op
from torch._higher_order_ops.map import map as map_rows
from torch._higher_order_ops.map import map_impl
from torch._higher_order_ops.scan import scan_op
from torch._higher_order_ops.while_loop import while_loop_op, while_loop_stack_output_op

import fxsolve
from fxsolve.capture.record.higher_order import is_control_flow, run_control_flow
from fxsolve.capture.verify import verify_program
from fxsolve.errors import CaptureError

T, B, N = 8, 2, 3

# The operators run their functions through dynamo, which warns about what it meets there.
pytestmark = [pytest.mark.filterwarnings("ignore")]


def inputs(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(T, B, N, generator=generator), torch.randn(N, N, generator=generator)


def scanned(x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    def combine(h: Tensor, x_t: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(h @ w + x_t)
        return h, h * 2

    return scan(combine, torch.zeros(B, N), x)


def scanned_backwards(x: Tensor, w: Tensor) -> dict[str, Any]:
    def combine(state: tuple[Tensor, Tensor], item: dict[str, Tensor]) -> tuple[Any, Any]:
        h, c = state
        c = torch.sigmoid(item["x"]) * c + h
        h = torch.tanh(c @ w)
        return (h, c), {"out": h + item["y"], "carry": c.clone()}

    items = {"x": x.transpose(0, 1), "y": x.transpose(0, 1).sin()}
    (h, c), ys = scan(combine, (torch.zeros(B, N), torch.ones(B, N)), items, dim=1, reverse=True)
    return {"last": (h, c), **ys}


def counted(x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    def body(i: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return i + 1, torch.tanh(h @ w + i)

    return while_loop(lambda i, h: i < T, body, (torch.tensor(0), x[0]))


def stacked(x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    def body(i: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return i + 1, torch.tanh(h @ w + i)

    return while_loop_stack_output_op(lambda i, h: i < T, body, (torch.tensor(0), x[0]), ())


def check(program: Callable[..., Any], *lengths: int, schedule: str = "gs") -> fxsolve.Compiled:
    """The compiled program gives the same on two inputs, and found loops of these lengths."""
    with torch.no_grad():
        fast = fxsolve.compile(program, schedule=schedule, backend="eager")
        for seed in (1, 2):
            torch.testing.assert_close(fast(*inputs(seed)), program(*inputs(seed)), rtol=0, atol=1e-6)
    report = fast.report()
    assert str(fast.schedule) != "original", report.reason
    assert report.runs, "the emitted module did not run"
    assert tuple(loop.length for loop in report.loops if (loop.depth or 1) > 1) == lengths
    return fast


@pytest.mark.parametrize("schedule", ["gs", "jacobi"])
@pytest.mark.parametrize("program", [scanned, scanned_backwards])
def test_a_scan_is_rolled(program: Callable[..., Any], schedule: str) -> None:
    fast = check(program, T, schedule=schedule)
    assert {run.method for run in fast.report().runs} >= {"jacobi" if schedule == "jacobi" else "gauss_seidel"}


def test_a_scan_is_the_same_bits_as_torchs_own() -> None:
    with torch.no_grad():
        fast = fxsolve.compile(scanned_backwards, schedule="gs", backend="eager")
        for seed in (1, 2):
            found, expected = fast(*inputs(seed)), scanned_backwards(*inputs(seed))
            assert torch.equal(found["last"][0], expected["last"][0])
            assert torch.equal(found["last"][1], expected["last"][1])
            for key in ("out", "carry"):
                assert torch.equal(found[key], expected[key])
                assert found[key].stride() == expected[key].stride()


def test_the_backward_pass_of_a_scan_is_rolled_and_affine() -> None:
    def program(x: Tensor, w: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            h, ys = scanned(x, w)
            return torch.autograd.grad(ys.square().sum() + h.sum(), x)[0]

    # The scan of torch 2.11 has a wrong gradient wherever its `init` needs none, so a loop says what is right.
    def by_loop(x: Tensor, w: Tensor) -> Tensor:
        x, h, ys = x.detach().requires_grad_(), torch.zeros(B, N), []
        for x_t in x:
            h = torch.tanh(h @ w + x_t)
            ys.append(h * 2)
        return torch.autograd.grad(torch.stack(ys).square().sum() + h.sum(), x)[0]

    fast = fxsolve.compile(program, schedule="gs", backend="eager")
    for seed in (1, 2):
        torch.testing.assert_close(fast(*inputs(seed)), by_loop(*inputs(seed)), rtol=1e-5, atol=1e-5)
    deep = [loop.affine for loop in fast.report().loops if (loop.depth or 1) > 1]
    assert deep == [False, True, True], str(fast.report())  # forward, backward, and the sum of the gradient's parts


def test_a_while_loop_is_rolled_and_its_condition_is_guarded() -> None:
    fast = check(counted, T)
    assert fast.report().guards == T + 1


def test_a_while_loop_that_ends_elsewhere_needs_no_other_recording() -> None:
    def program(x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        def body(i: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
            return i + 1, torch.tanh(h @ w + i) * 0.5

        return while_loop(lambda i, h: i < limit, body, (torch.tensor(0), x[0]))

    limit = torch.tensor(T)
    x, w = inputs(1)
    with torch.no_grad():
        fast = fxsolve.compile(program, schedule="gs", backend="eager")
        for count in (T, T - 2, T, T - 2):
            limit.fill_(count)
            found, expected = fast(x, w), program(x, w)
            assert found[0] == expected[0] == count
            assert torch.equal(found[1], expected[1])
    assert str(fast.schedule) != "original"
    assert [entry.calls for entry in fast.entries] == [3]


def test_a_while_loop_that_keeps_its_steps_is_rolled() -> None:
    found = fxsolve.partition(fxsolve.capture(stacked, *inputs(1))).system.repeats
    assert T in [repeat.length for repeat in found]


def test_recording_leaves_torchs_own_scan_as_it_was() -> None:
    def program(x: Tensor) -> tuple[Tensor, Tensor]:
        return scan(lambda h, x_t: (h + x_t, h * x_t), torch.zeros(B, N), x)

    x, _ = inputs(1)
    with torch.no_grad():
        expected = program(x)
        fxsolve.capture(program, x)
        torch.testing.assert_close(program(x), expected, rtol=0, atol=0)


def test_a_read_inside_of_a_scan_that_cannot_be_followed_is_refused() -> None:
    def program(x: Tensor) -> tuple[Tensor, Tensor]:
        def combine(h: Tensor, x_t: Tensor) -> tuple[Tensor, Tensor]:
            return h + x_t * x_t.data_ptr(), h.clone()

        return scan(combine, torch.zeros(B, N), x)

    with pytest.raises(CaptureError, match=r"test_higher_order\.py:\d+: Tensor.data_ptr reads tensor values"):
        fxsolve.capture(program, inputs(1)[0])


def test_a_while_loop_without_a_step_is_refused_even_if_the_program_catches_the_error() -> None:
    def program(x: Tensor) -> Tensor:
        try:
            return while_loop(lambda h: h.sum() < 0, lambda h: (h + 1,), (x,))[0]
        except Exception:
            return x

    with pytest.raises(CaptureError, match=r"test_higher_order\.py:\d+: a while_loop that makes no step"):
        fxsolve.capture(program, torch.ones(3))


def test_an_associative_scan_is_recorded_as_its_tree_of_calls() -> None:
    def program(x: Tensor) -> Tensor:
        return associative_scan(lambda a, b: a * 0.9 + b, x, 0, combine_mode="generic")

    with torch.no_grad():
        fast = fxsolve.compile(program, schedule="gs", backend="eager")
        for seed in (1, 2):
            x, _ = inputs(seed)
            assert torch.equal(fast(x), program(x))
    assert str(fast.schedule) == "original"
    assert "no loop was found" in fast.report().reason


def test_another_operator_that_takes_functions_is_refused() -> None:
    def program(x: Tensor) -> Tensor:
        return map_rows(lambda row: torch.sin(row) * 2, x)  # pyright: ignore

    expected = program(torch.ones(3, 2))
    with pytest.raises(
        CaptureError, match=r"test_higher_order\.py:\d+: the operator map_impl takes functions; write it"
    ):
        fxsolve.capture(program, torch.ones(3, 2))
    assert torch.equal(program(torch.ones(3, 2)), expected)
    assert torch.equal(program(torch.ones(4, 2)), torch.sin(torch.ones(4, 2)) * 2)


def step_by_sign(h: Tensor, x_t: Tensor) -> Tensor:
    return torch.cond(h.sum() > 0, lambda h, x_t: torch.tanh(h - x_t), lambda h, x_t: torch.tanh(h + x_t), (h, x_t))


def branching(x: Tensor) -> Tensor:
    h = torch.zeros(B, N)
    for x_t in x:
        h = step_by_sign(h, x_t)
    return h


def branching_once(x: Tensor) -> Tensor:
    h = torch.zeros(B, N)
    for x_t in x:
        h = torch.tanh(h + x_t)
    return torch.cond(x[0, 0, 0] > 0, lambda h: h * 2, lambda h: h + 1, (h,))


def test_a_branch_is_run_under_a_guard_on_its_predicate() -> None:
    x = inputs(1)[0]
    program = fxsolve.capture(branching_once, x)
    assert [type(guard.expected) for guard in program.guards] == [bool]
    verify_program(program)
    fast = fxsolve.compile(branching_once, backend="eager", schedule="gs")
    for _ in range(2):
        for sign in (1, -1):
            torch.testing.assert_close(fast(sign * x), branching_once(sign * x), rtol=0, atol=0)
    assert len(fast.entries) == 2
    assert str(fast.schedule) != "original"


def test_branches_inside_of_a_loop_are_guarded_at_every_step() -> None:
    x = inputs(1)[0]
    assert len(fxsolve.capture(branching, x).guards) == len(x)
    fast = fxsolve.compile(branching, schedule="gs", backend="eager")
    for sign in (1, -1, 2, -2) * 2:
        torch.testing.assert_close(fast(sign * x), branching(sign * x), rtol=0, atol=0)
    assert [entry.calls for entry in fast.entries] == [1] * 4


def test_a_branch_inside_of_a_scan_is_guarded() -> None:
    def program(x: Tensor) -> tuple[Tensor, Tensor]:
        def combine(h: Tensor, x_t: Tensor) -> tuple[Tensor, Tensor]:
            new = step_by_sign(h, x_t)
            return new, new.clone()

        return scan(combine, torch.zeros(B, N), x)

    x = inputs(1)[0]
    assert len(fxsolve.capture(program, x).guards) == len(x)


def test_a_scan_is_its_carry_and_the_stacks_of_the_rest() -> None:
    x, w = inputs(0)

    def combine(h: Tensor, x_t: Tensor, factor: Tensor) -> tuple[Any, ...]:
        h = torch.tanh(h @ w + x_t) * factor
        return h, h[0], None

    h, rows = torch.zeros(B, N), []
    for x_t in x:
        h = torch.tanh(h @ w + x_t) * 2
        rows.append(h[0])
    found = run_control_flow(scan_op, (combine, [torch.zeros(B, N)], [x], (torch.tensor(2),)), {})
    assert isinstance(found, tuple)
    assert torch.equal(found[0], h)
    assert torch.equal(found[1], torch.stack(rows))
    assert found[2] is None


@pytest.mark.parametrize("operator", [while_loop_op, while_loop_stack_output_op])
def test_a_while_loop_ends_where_its_condition_says(operator: Any) -> None:
    start, steps = torch.tensor(3), list(range(4, 8))
    args = (lambda n, end: n < end, lambda n, _: {"n": n + 1}, (start,), (torch.tensor(7),))
    found = run_control_flow(operator, args, {})
    assert found["n"].tolist() == (steps if operator is while_loop_stack_output_op else steps[-1])
    with pytest.raises(CaptureError, match=r"test_higher_order\.py:\d+: a while_loop that makes no step"):
        run_control_flow(operator, (*args[:3], (start,)), {})


def test_a_branch_is_run_alone() -> None:
    ran: list[int] = []
    for predicate in (True, False):
        branches = (lambda k: ran.append(k), lambda k: ran.append(-k))
        run_control_flow(cond_op, (torch.tensor(predicate), *branches), {"operands": (3,)})
    assert ran == [3, -3]


def test_only_operators_with_a_rule_are_run() -> None:
    assert all(map(is_control_flow, (cond_op, scan_op, while_loop_op, while_loop_stack_output_op)))
    assert not any(map(is_control_flow, (map_impl, torch.ops.aten.add.Tensor, scan)))
