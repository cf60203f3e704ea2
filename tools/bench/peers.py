"""The nearest peer: cells of pararnn-torch in their own sequential form, against its Newton solver, three iterations.

`pip install --no-deps pararnn-torch`. Its solver runs where the cell has a Jacobian written by hand; fxsolve gets the
loop over `cell.step`, as the package has it for comparisons. Every case has a process of its own. "Difference" is that
of fxsolve from the loop as written: outputs, and gradients where the case trains, relative to their largest entries.
"""

import copy
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.solvers.solution import observe
from measure import THREADS, Case, interleaved, options, save

SIZE, SIZES = 64, ((4, 512), (1, 2048))
CELLS = ("GRU", "LSTM", "SLSTM")
GOAL = 1.5
Run = Callable[[Tensor], Tensor]


class Solved(nn.Module):
    """A cell over (B, T, n) by a solver of the package."""

    def __init__(self, cell: nn.Module, solve: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.cell, self.solve = cell, solve

    def forward(self, x: Tensor) -> Tensor:
        return self.solve(self.cell, x)


def names() -> list[str]:
    """Cell, size and use of every case."""
    return [
        f"{cell}, B={batch}, T={steps}{use}" for use in ("", ", training") for cell in CELLS for batch, steps in SIZES
    ]


def call_of(model: nn.Module, program: Run, trains: bool) -> Run:
    """A call without gradients, or one with those of all parameters in their `grad`."""

    def train(x: Tensor) -> Tensor:
        for parameter in model.parameters():
            parameter.grad = None
        with torch.enable_grad():
            result = program(x)
            result.square().mean().backward()
        return result.detach()

    return train if trains else program


def relative(found: list[Tensor], expected: list[Tensor]) -> float:
    pairs = zip(found, expected, strict=True)
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-30)) for a, b in pairs)


def results(model: nn.Module, call: Run, x: Tensor) -> list[Tensor]:
    with torch.no_grad():
        output = call(x)
    return [output, *(parameter.grad for parameter in model.parameters() if parameter.grad is not None)]


def measure(name: str, repeats: int) -> Case:
    import pararnn  # needed here alone

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    kind, batch, steps = name.split(", ")[:3]
    trains = name.endswith("training")
    cell: nn.Module = getattr(pararnn, f"Para{kind}")(SIZE, SIZE)
    x = torch.randn(int(batch[2:]), int(steps[2:]), SIZE)
    config = pararnn.NewtonConfig(max_iters=3, residual_atol=None, residual_fail=None)
    loops = Solved(cell, pararnn.sequential_apply), Solved(copy.deepcopy(cell), pararnn.sequential_apply)
    theirs = Solved(copy.deepcopy(cell), lambda cell, x: pararnn.newton_apply(cell, x, config))
    fast: Any = fxsolve.compile(loops[1], mode="max-autotune")
    calls = {
        "eager": call_of(loops[0], loops[0], trains),
        "pararnn": call_of(theirs, theirs, trains),
        "fxsolve": call_of(loops[1], fast, trains),
    }
    with torch.no_grad():
        began = time.perf_counter()
        calls["fxsolve"](x)
        first = time.perf_counter() - began
        ms = interleaved(calls, (x,), repeats)
        with observe() as seen:
            calls["fxsolve"](x)
    expected = results(loops[0], calls["eager"], x)
    worst = relative(results(loops[1], calls["fxsolve"], x), expected)
    print(f"{name}: pararnn differs by {relative(results(theirs, calls['pararnn'], x), expected):.1e}")
    return Case(
        name=name,
        ms=ms,
        baseline="pararnn",
        prediction=GOAL,
        schedule=str(fast.schedule),
        solved=[f"{one.name}: {one.method} {one.sweeps} of {one.length}" for one in seen],
        equal=worst == 0,
        difference=worst,
        first_call_s=first,
        stages_s=dict(fast.report().seconds),
    )


def main() -> None:
    chosen = options("peers", __doc__ or "", choices=names())
    os.environ["FXSOLVE_CACHE"] = "off"
    measured: list[Case] = []
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as process:
        for name in chosen.only:
            measured.append(process.submit(measure, name, chosen.repeats).result())
            save(chosen, "peers", measured)


if __name__ == "__main__":
    main()
