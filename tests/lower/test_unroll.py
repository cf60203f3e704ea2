"""Steps that read numbers which change with them are compiled together too: the numbers come as tensors."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import fxsolve
from fxsolve.capture.program import Program
from fxsolve.ir.spec import Repeat, System
from fxsolve.lower import unroll
from fxsolve.lower.unroll import can_unroll, has_numbers
from fxsolve.plan.decision import Decision
from fxsolve.plan.text import parse_schedule
from fxsolve.solvers.solution import observe
from fxsolve.torch_compat.tensors import negative_view

T, B, N = 20, 2, 3


def times(h: Tensor) -> Tensor:
    states = []
    for t in range(T):
        h = torch.tanh(h * (0.9 - 0.01 * t * t) + 0.1)
        states.append(h)
    return torch.stack(states)


def factor_of_a_sum(h: Tensor) -> Tensor:
    for t in range(1, T + 1):
        h = torch.add(h.sin(), h, alpha=0.9**t).clamp(-1.0 / t, 1.0)
    return h


def integers(h: Tensor) -> Tensor:
    n = torch.arange(N).expand(B, N)
    for t in range(T):
        n = (n * 3 + t * t) % 17
        h = h.cos() + n / (t + 1.5) + (n > t) * 0.5
    return h + n


def entries_in_an_order(h: Tensor) -> Tensor:
    for t in range(T):
        h = torch.tanh(h + h[:, (7 * t * t) % N, None] - h[:, -1 - t % N, None] / 2)
    return h


def doubles(h: Tensor) -> Tensor:
    h = h.double()
    for t in range(T):
        h = torch.tanh(h * (1 / (t + 3)) + 0.1) - t * 0.01 / (t + 1)
    return h


PROGRAMS = (times, factor_of_a_sum, integers, entries_in_an_order, doubles)


def loop_of(program: Callable[[Tensor], Tensor]) -> tuple[Program, System, Repeat]:
    with torch.no_grad():
        captured = fxsolve.capture(program, torch.randn(B, N, generator=torch.Generator().manual_seed(1)))
    system = fxsolve.partition(captured).system
    (repeat,) = [one for one in system.repeats if one.length > 1 and can_unroll(one)]
    return captured, system, repeat


@pytest.mark.parametrize("program", PROGRAMS)
def test_compiled_steps_are_the_program(program: Callable[[Tensor], Tensor]) -> None:
    captured, system, repeat = loop_of(program)
    assert has_numbers(repeat)
    compare(captured, system, repeat)


def test_compiled_steps_read_what_torch_negates_lazily() -> None:
    def program(h: Tensor) -> Tensor:
        shift, inputs = torch.complex(h, h + 1).conj().imag, torch.complex(h, h.cos()).conj().imag.repeat(T, 1, 1)
        for t in range(T):
            h = torch.tanh(h * shift + negative_view(inputs)[t])
        return h

    compare(*loop_of(program))


def test_they_run_in_grad_mode_too_and_give_no_gradients() -> None:
    assert not compare(*loop_of(times), grad=True).requires_grad


def compare(captured: Program, system: System, repeat: Repeat, grad: bool = False) -> Tensor:
    """Run the loop by compiled steps, which are to give what the program gave, and to be certified by its own."""
    rows = (f"fused({one.name}, unroll=3)" if one is repeat else one.name for one in system.equations)
    partition = fxsolve.partition(captured)
    decision = Decision(parse_schedule(f"gs({', '.join(rows)})", system))
    emitted = fxsolve.emit(captured, partition, decision)
    inputs = [value.detach().requires_grad_(value.is_floating_point()) for value in captured.example.inputs]
    with torch.set_grad_enabled(grad), observe() as solutions, fxsolve.certificates() as seen:
        (found,) = emitted.module(*inputs)
    assert [one.method for one in solutions if one.name == repeat.name] == ["fused_gauss_seidel"]
    (expected,) = captured.example.outputs
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    # The steps of the certificate are the program's own, with numbers of Python.
    certificate = next(one for one in seen if one.solution.name == repeat.name)
    assert certificate.residual < 1e-5, certificate.problem
    assert torch.equal(found, expected) or not certificate.bitwise
    return found


def test_steps_that_need_numbers_are_not_compiled_together() -> None:
    def program(x: Tensor) -> Tensor:
        h = x[:, 0]
        for t in range(T):
            h = torch.tanh(h + x[:, : 65 + t * t % 7].sum(1))
        return h

    with torch.no_grad():
        captured = fxsolve.capture(program, torch.randn(B, 100))
    assert not any(can_unroll(one) for one in fxsolve.partition(captured).system.repeats if has_numbers(one))


def test_no_step_waits_for_a_number_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    *_, repeat = loop_of(times)
    monkeypatch.setattr(unroll, "device_of", lambda _: torch.device("cuda"))
    assert not can_unroll(repeat)
