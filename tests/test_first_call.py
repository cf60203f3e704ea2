"""How many graphs a first call compiles: counted, not timed."""

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.ir.reads import has_carry
from fxsolve.plan import budget
from fxsolve.plan.budget import RUNS
from fxsolve.plan.decision import Decision
from fxsolve.plan.text import parse_schedule
from fxsolve.solvers import compile_once
from tests.pretending import STEP, pretend

B, N, T = 2, 3, 61
OPS = 4


_BETWEEN = (torch.sin, torch.cos, torch.tan, torch.sigmoid, torch.erf, torch.atan, torch.sinh, torch.asinh)


class Stages(nn.Module):
    """Recurrences one after the other, of these widths, with another function between each two of them."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.weights = nn.ParameterList(nn.Parameter(torch.randn(n, n) / n) for n in widths)

    def forward(self, x: Tensor) -> Tensor:
        total = x.new_zeros(())
        for weight, between in zip(self.weights, _BETWEEN, strict=False):
            h = x.new_zeros(B, len(weight))
            for row in x:
                h = torch.tanh(h @ weight + row[:, : len(weight)])
            total = total + between(h).sum()
        return total


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The graphs that are compiled."""
    return pretend(monkeypatch)


def check(model: nn.Module, x: Tensor) -> Any:
    fast = fxsolve.compile(model, mode="max-autotune")
    for scale in (1.0, 0.5):
        with torch.no_grad():
            torch.testing.assert_close(fast(x * scale), model(x * scale))
    assert fast.report().status == "emitted", fast.report().reason
    return fast


def in_compiled_steps(fast: Any) -> list[str]:
    return [loop.name for loop in fast.report().loops if loop.chosen.backend == "inductor"]


def test_loops_with_equal_steps_share_one_compilation_with_what_is_emitted(compiled: list[nn.Module]) -> None:
    fast = check(Stages((N,) * 8), torch.randn(T, B, N))
    assert len(in_compiled_steps(fast)) == 8
    assert len(compiled) == 1


def test_another_length_and_another_model_compile_nothing(compiled: list[nn.Module]) -> None:
    for length in (T, T + 12, T + 24):
        check(Stages((N,)), torch.randn(length, B, N))
    assert len(compiled) == 1


def test_of_many_different_loops_a_few_are_compiled_and_a_note_tells_the_others(
    compiled: list[nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "BUDGET_SECONDS", 0.0)
    monkeypatch.setattr(budget, "OP_SECONDS", RUNS * T * STEP / (12 * OPS) / 3.5)
    fast = check(Stages((1, 2, 3, 4, 5, 6, 7, 8)), torch.randn(T, B, 8))
    assert len(compiled) == len(in_compiled_steps(fast)) == 3
    (note,) = (note for note in fast.report().notes if "not compiled" in note)
    left = [loop for loop in fast.report().loops if "other loops take" in "".join(one.reason for one in loop.rejected)]
    assert len(left) == 5
    assert all(loop.name in note for loop in left)


@pytest.mark.filterwarnings("ignore:`torch.jit", "ignore:.torch.jit")
def test_what_is_shared_holds_no_values_of_the_loop_that_it_was_compiled_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[nn.Module] = []
    real = compile_once.compile_by_inductor

    def count(module: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
        made.append(module)
        return real(module, inputs)

    monkeypatch.setattr(compile_once, "_kept", OrderedDict())
    monkeypatch.setattr(compile_once, "compile_by_inductor", count)
    model = Stages((N, N, N))
    with torch.no_grad():
        recorded = fxsolve.capture(model, torch.randn(T, B, N))
        parts = fxsolve.partition(recorded)
        loops = [repeat.name for repeat in parts.system.repeats if has_carry(repeat)]
        order = parse_schedule(f"gs({', '.join(f'fused({name}, unroll=4)' for name in loops)})", parts.system)
        emitted = fxsolve.emit(recorded, parts, Decision(order))
        for scale in (1.0, 0.3, 2.0):
            x = torch.randn(T, B, N) * scale
            torch.testing.assert_close(emitted.module(x)[0], model(x))
    assert len(loops) == 3
    assert len(made) == 1
