"""Parts of a program that torch.compile compiled are recorded as they are written, and stay compiled elsewhere."""

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.capture.record.as_written import as_written

# The compiler warns about what it meets.
pytestmark = [pytest.mark.filterwarnings("ignore")]


class Compilations:
    """A backend that counts what it is given, and runs it eagerly."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, module: torch.fx.GraphModule, examples: list[Any]) -> Callable[..., Any]:
        self.count += 1
        return module.forward


def step(h: Tensor, x_t: Tensor) -> Tensor:
    return torch.tanh(h + x_t)


def unrolled(step: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
    def program(x: Tensor) -> Tensor:
        h = torch.zeros(3)
        for x_t in x:
            h = step(h, x_t)
        return h

    return program


class Cell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, h: Tensor, x_t: Tensor) -> Tensor:
        return torch.tanh(self.linear(h) + x_t)


@pytest.fixture(autouse=True)
def compiled_anew() -> None:
    torch.compiler.reset()


@pytest.mark.parametrize("fullgraph", [True, False])
@pytest.mark.parametrize("kind", ["function", "module", "in the program"])
def test_a_compiled_part_is_recorded_as_it_is_written_and_stays_compiled(kind: str, fullgraph: bool) -> None:
    torch.manual_seed(0)
    backend, cell = Compilations(), Cell()
    compiled = torch.compile(step if kind == "function" else cell, backend=backend, fullgraph=fullgraph)
    part = compiled
    if kind == "in the program":
        part = lambda h, x_t: torch.compile(cell, backend=backend, fullgraph=fullgraph)(h, x_t)  # noqa: E731
    program, plain = unrolled(part), unrolled(step if kind == "function" else cell)
    x = torch.randn(8, 3)
    with torch.no_grad():
        fast = fxsolve.compile(program, schedule="gs", backend="eager")
        for scale in (1, 2, -1):
            torch.testing.assert_close(fast(scale * x), plain(scale * x), rtol=0, atol=1e-6)
        assert str(fast.schedule) != "original", fast.report().reason
        assert [loop.length for loop in fast.report().loops] == [8]
        assert backend.count <= 1  # the first call also runs the program as it is
        torch.testing.assert_close(program(x), plain(x), rtol=0, atol=1e-6)
    assert backend.count == 1


def test_a_thread_that_records_nothing_compiles_meanwhile() -> None:
    backend, found = Compilations(), []
    compiled = torch.compile(step, backend=backend, fullgraph=True)
    h, x_t = torch.randn(3), torch.randn(3)
    thread = threading.Thread(target=lambda: found.append(compiled(h, x_t)))
    with as_written():
        thread.start()
        thread.join()
    assert torch.equal(found[0], step(h, x_t))
    assert backend.count == 1


def test_a_stance_that_is_set_meanwhile_stays() -> None:
    backend = Compilations()
    compiled = torch.compile(step, backend=backend, fullgraph=True)
    with as_written():
        stance = torch.compiler.set_stance("force_eager")
    try:
        compiled(torch.zeros(3), torch.zeros(3))
        assert backend.count == 0
    finally:
        stance.__exit__(None, None, None)
    compiled(torch.zeros(3), torch.zeros(3))
    assert backend.count == 1


_FIRST_COMPILER = """
import sys, torch, fxsolve

def plain(x):
    h = torch.zeros(3)
    for x_t in x:
        h = torch.tanh(h + x_t)
    return h

def compiling(x):
    return plain(torch.compile(step, backend=backend)(x))

def step(y):
    return y + 1

def backend(module, given):
    print("compiled")
    return module.forward

x = torch.randn(16, 3)
with torch.no_grad():
    fast = fxsolve.compile(plain, schedule="gs", backend="eager")
    for _ in range(2):
        torch.testing.assert_close(fast(x), plain(x))
    print(str(fast.schedule), "torch._dynamo" in sys.modules)
    captured = fxsolve.capture(compiling, x)
    print("torch._dynamo" in sys.modules)
    torch.testing.assert_close(compiling(x), plain(x + 1))
    print(sys.modules["torch._dynamo.eval_frame"].__loader__.__class__.__name__)
"""


def test_the_compiler_is_not_imported_unless_the_program_does_so_itself() -> None:
    """What it compiles first of all in its recording runs as it is written all the same, and is compiled behind it."""
    done = subprocess.run([sys.executable, "-c", _FIRST_COMPILER], capture_output=True, text=True, timeout=300)
    assert done.stdout.splitlines() == ["gs(block0, loop0[0:16]) False", "True", "compiled", "SourceFileLoader"], (
        done.stderr
    )
