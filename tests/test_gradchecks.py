"""Gradients agree with finite differences, and with the original's, for every schedule and every kind of read."""

import copy
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.errors import PartitionError, ScheduleError
from fxsolve.ir.spec import Repeat
from fxsolve.loops.partition import Partition
from fxsolve.plan.lower import lower
from fxsolve.plan.schedule import parts_of
from fxsolve.plan.text import parse_schedule
from fxsolve.solvers.stop import Stop
from tests.cells import Diagonal, assert_close, assert_emitted, gradients

BATCH, STEPS, FEATURES, HIDDEN = 3, 8, 3, 3


class Cell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.randn(HIDDEN, HIDDEN) * 0.4)
        self.V = nn.Parameter(torch.randn(HIDDEN, HIDDEN) * 0.4)
        self.U = nn.Parameter(torch.randn(FEATURES, HIDDEN) * 0.4)


class TwoBack(Cell):
    """Reads one and two steps back."""

    def forward(self, x: Tensor) -> Tensor:
        before = last = x.new_zeros(x.shape[0], HIDDEN)
        for t in range(x.shape[1]):
            before, last = last, torch.tanh(last @ self.W + before @ self.V + x[:, t] @ self.U)
        return last


class Numbered(Cell):
    """Reads the number of the step."""

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[0], HIDDEN)
        for t in range(x.shape[1]):
            h = torch.tanh(h @ self.W + x[:, t] @ self.U * (t + 1)) / (t + 2)
        return h


class Whole(Cell):
    """Reads everything that was written before."""

    def forward(self, x: Tensor) -> Tensor:
        rows = x.new_zeros(x.shape[0], x.shape[1], HIDDEN)
        mask = torch.ones(x.shape[1], x.shape[1], dtype=x.dtype).tril(-1)
        for t in range(x.shape[1]):
            seen = (rows * mask[t, :, None]).sum(1)
            rows = rows.index_copy(1, torch.tensor([t]), torch.tanh(seen @ self.W + x[:, t] @ self.U)[:, None])
        return rows


class Affine(Cell):
    def forward(self, x: Tensor) -> Tensor:
        h, states = x.new_zeros(x.shape[0], HIDDEN), []
        for t in range(x.shape[1]):
            h = h @ self.W + torch.sin(x[:, t] @ self.U)
            states.append(h)
        return torch.stack(states, 1)


class Stacked(nn.Module):
    """Layers with weights of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(FEATURES, FEATURES) for _ in range(STEPS))

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, 0]
        for layer in self.layers:
            x = x + torch.tanh(layer(x))
        return x


class Scaled(Diagonal):
    """A state for each feature, written over in place."""

    def forward(self, x: Tensor) -> Tensor:
        taken = x @ self.B
        h = torch.zeros_like(taken[:, 0])
        for t in range(x.shape[1]):
            h = h * torch.sigmoid(self.a)
            h += taken[:, t]
            h = torch.sin(h)
        return h


PROGRAMS = [TwoBack, Numbered, Whole, Affine, Scaled, Stacked]
METHODS = {
    "jacobi": "jacobi({0})",
    "chunks": "jacobi({0}[0:{1}:3])",
    "sliding": "jacobi({0}, window=3)",
    "by sample": "jacobi({0}, samples=2)",
    "jacobi-gs": "jacobi(gs({0}[0:{1}:{2}]))",
    "newton": "newton({0})",
    "diagonal": "newton({0}, jacobian=diagonal)",
    "picard": "picard({0})",
    "scan": "scan({0})",
    "levels": "levels({0})",
}
RUNS_AS = {"chunks": "jacobi", "by sample": "jacobi_by_sample", "jacobi-gs": "jacobi_gs", "diagonal": "newton"}
# These need a state that one step gives to the next, which a buffer is not.
OF_A_STATE = ("newton", "diagonal", "scan")
ONE_SWEEP = {
    "jacobi": "jacobi({0}, max_sweeps=1)",
    "sliding": "jacobi({0}, max_sweeps=1, window=3)",
    "newton": "newton({0}, max_sweeps=1)",
    "picard": "picard({0}, max_sweeps=1)",
}


def inputs() -> Tensor:
    return torch.randn(BATCH, STEPS, FEATURES, dtype=torch.float64)


def made(program: Callable[[], nn.Module], gain: float = 1.0) -> nn.Module:
    torch.manual_seed(0)
    model = program().double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(gain)
    return model


@cache
def parts_of_program(program: Callable[[], nn.Module]) -> Partition:
    return fxsolve.partition(fxsolve.capture(made(program), inputs().requires_grad_()))


def solved_by(program: Callable[[], nn.Module], form: str) -> tuple[str, list[bool]]:
    """A schedule in which every loop that admits the method is solved by it; for each of these, whether it is late."""
    parts = parts_of_program(program)
    texts, late = [], []
    for equation in parts.system.equations:
        text = _form(form, equation) if isinstance(equation, Repeat) else None
        if text is not None and _is_admitted(parts, equation, text):  # pyright: ignore[reportArgumentType]
            late.append(any("backward" in node.meta for node in equation.body.graph.nodes))
            texts.append(text)
        else:
            texts.append(equation.name)
    return f"gs({', '.join(texts)})", late


def _form(form: str, repeat: Repeat) -> str | None:
    divisors = [k for k in range(2, repeat.length) if repeat.length % k == 0]
    if not divisors and "{2}" in form:
        return None  # its steps cannot be shared out evenly
    return form.format(repeat.name, repeat.length, *divisors[:1])


def _is_admitted(parts: Partition, repeat: Repeat, text: str) -> bool:
    try:
        chosen = parts_of(parse_schedule(text, parts.system), repeat.name)
        lower(repeat, chosen, Stop())
    except (PartitionError, ScheduleError):
        return False
    return True


def pair(program: Callable[[], nn.Module], form: str, gain: float = 1.0) -> tuple[Any, nn.Module]:
    """A program in which every loop that admits the method is solved by it, and an untouched copy of the program."""
    model = made(program, gain)
    text, _ = solved_by(program, form)
    return fxsolve.compile(copy.deepcopy(model), schedule=text, backend="eager"), model


def admitted(methods: Iterable[str]) -> list[tuple[Callable[[], nn.Module], str]]:
    """Every program with every method that solves any of its loops."""
    return [(one, method) for method in methods for one in PROGRAMS if one is not Whole or method not in OF_A_STATE]


def assert_gradients(fast: Any, original: nn.Module, method: str, rtol: float = 1e-10) -> None:
    for _ in range(2):
        x = inputs()
        assert_close(gradients(fast, x), gradients(original, x), rtol)
    assert_emitted(fast)
    assert RUNS_AS.get(method, method) in {run.method for run in fast.report().runs}


# Every second: each method, and each program, is among them.
@pytest.mark.parametrize(("program", "method"), admitted(METHODS)[::2])
def test_gradients_agree_with_finite_differences(program: Callable[[], nn.Module], method: str) -> None:
    fast, original = pair(program, METHODS[method])
    assert_gradients(fast, original, method)
    x = inputs().requires_grad_()
    parameters = tuple(fast.parameters())
    assert torch.autograd.gradcheck(lambda x, *_: fast(x), (x, *parameters), fast_mode=True)
    assert_emitted(fast)


def test_every_method_solves_loops_of_both_passes() -> None:
    for method, form in METHODS.items():
        late = [solved_by(program, form)[1] for program in PROGRAMS]
        assert {True, False} <= {one for found in late for one in found}, method


@pytest.mark.parametrize(("program", "method"), [one for one in admitted(ONE_SWEEP) if one[0] in (TwoBack, Whole)])
def test_a_solve_that_is_cut_short_is_finished_in_order(program: Callable[[], nn.Module], method: str) -> None:
    fast, original = pair(program, ONE_SWEEP[method])
    assert_gradients(fast, original, method)
    assert "finished sequentially" in {run.status for run in fast.report().runs}


@pytest.mark.parametrize("program", [TwoBack, Affine])
@pytest.mark.parametrize("method", ["jacobi", "sliding", "newton", "diagonal", "picard", "scan"])
def test_diverging_loops_have_right_gradients(program: Callable[[], nn.Module], method: str) -> None:
    fast, original = pair(program, METHODS[method], gain=6.0)
    assert_gradients(fast, original, method, 1e-9)
