"""Steps that run several at a time write every output of every step, be its rows small or large."""

from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import fxsolve
from fxsolve.plan.decision import Decision
from fxsolve.plan.text import parse_schedule
from fxsolve.solvers import compile_once, fuse
from fxsolve.solvers.solution import observe


def program(steps: int) -> Callable[[Tensor, Tensor], tuple[Tensor, ...]]:
    """A state that is read behind its own write, another output, and one of another dtype."""

    def run(h: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        states, gates, signs = [], [], []
        for t in range(steps):
            gates.append(torch.sigmoid(h + x[t]))
            h = h.flip(0) * gates[-1] + x[t]
            states.append(h)
            signs.append(h.mean(1) > 0)
        return torch.stack(states), torch.stack(gates), torch.stack(signs), h

    return run


@pytest.mark.parametrize("steps", [4, 12, 13, 14])
@pytest.mark.parametrize("bound", [0, 40, fuse.SMALL_ROW])
def test_every_step_is_written_into_its_row(steps: int, bound: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile_once, "_kept", OrderedDict())
    monkeypatch.setattr(compile_once, "compile_by_inductor", lambda module, inputs: module)
    monkeypatch.setattr(fuse, "SMALL_ROW", bound)  # rows of 60 and of 3 bytes
    inputs = torch.randn(3, 5), torch.randn(steps, 3, 5)
    with torch.no_grad():
        captured = fxsolve.capture(program(steps), *inputs)
        partition = fxsolve.partition(captured)
        rows = (
            f"fused({one.name}, unroll=4)" if one.name == "loop0" else one.name for one in partition.system.equations
        )
        decision = Decision(parse_schedule(f"gs({', '.join(rows)})", partition.system))
        emitted = fxsolve.emit(captured, partition, decision)
        for given in (inputs, tuple(torch.randn_like(one) for one in inputs)):
            with observe() as solutions:
                found = emitted.module(*given)
            assert "fused_gauss_seidel" in [one.method for one in solutions]
            for one, other in zip(found, program(steps)(*given), strict=True):
                torch.testing.assert_close(one, other)


def test_steps_between_products_are_compiled_once_whatever_their_number() -> None:
    from torch._inductor.codecache import CppPythonBindingsCodeCache

    def cell(h: Tensor, x: Tensor, w: Tensor) -> Tensor:
        for row in x:
            h = torch.tanh(h @ w * torch.sigmoid(row) + row.cos())
        return h

    inputs, kernels = (torch.randn(3, 5), torch.randn(32, 3, 5), torch.randn(5, 5)), []
    for unroll in (6, 9):
        before = set(CppPythonBindingsCodeCache.cache)
        fast = fxsolve.compile(cell, schedule=f"gs(loop0_inputs, fused(loop0, unroll={unroll}))")
        with torch.no_grad():
            torch.testing.assert_close(fast(*inputs), cell(*inputs))
        assert f"unroll={unroll}" in fast.report().schedule
        kernels.append(set(CppPythonBindingsCodeCache.cache) - before)
    assert len(kernels[0]) == 1
    assert not kernels[1]


def test_what_is_not_all_on_a_cpu_comes_as_it_is() -> None:
    """Rows of an accelerator are views, each of which takes longer than most steps of a CPU."""
    here, elsewhere = torch.randn(6, 2).split(3), torch.empty(6, 2, device="meta").split(3)
    assert list(fuse._arriving([here, elsewhere])) == list(zip(here, elsewhere, strict=True))
    assert [len(rows) for rows in fuse._arriving([here, here])] == [6, 6]
