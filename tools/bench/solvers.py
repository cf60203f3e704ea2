"""Every solver on one GRU loop, for many lengths, sizes and batches: time, iterations and error, and a plot.

The contenders are the loop as written, nn.GRU, torch's `scan` operator on a cell compiled by inductor, and every method
of fxsolve, without compiled steps, and its automatic choice. `error` is the largest difference from the loop as
written. A method that took longer than the budget at one length is not run at the next. More rows count iterations of
other recurrences, to compare with published ones: a tanh RNN, and the backward pass of Song's RNN (ICML 2021).
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from gru import library_gru
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan
from train_step import SongRNN

import fxsolve
from fxsolve.errors import FxSolveError
from fxsolve.runtime.compiled import Compiled
from fxsolve.solvers.solution import observe
from measure import QUICK_RESULTS, RESULTS, THREADS, device_name, options

from gru_loop import LoopGRU

LENGTHS, SIZES, BATCHES = (256, 1024, 4096, 16384, 65536), (1, 4, 32, 128), (1, 16)
METHODS = {
    "in order": "gs",
    "Jacobi": "jacobi",
    "Newton": "newton",
    "Newton, diagonal": "gs(jacobi({loop}_inputs), newton({loop}, jacobian=diagonal))",
    "sliding window of 64": "gs(jacobi({loop}_inputs), jacobi({loop}, window=64))",
    "automatic": "auto",
}
COUNTED = {"Jacobi": "jacobi", "Newton": "newton", "Newton, diagonal": "newton({loop}, jacobian=diagonal)"}
LONGEST_COMPILED = 4096  # steps up to which contenders that compile for every length are run
LARGEST_NEWTON = 32  # entries of a state whose full Jacobian is computed
Program = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Row:
    """One method at one size; `ms` is a median, `iterations` the sweeps or steps of the recurrence."""

    cell: str
    steps: int
    size: int
    batch: int
    method: str
    ms: float
    iterations: int
    error: float
    schedule: str


class TanhRNN(nn.Module):
    """h_t = tanh(W h_{t-1} + x_t): (T, B, H) -> (T, B, H)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(size, size) * 0.9 / size**0.5)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros_like(x[0])
        states = []
        for x_t in x:
            h = torch.tanh(h @ self.weight + x_t)
            states.append(h)
        return torch.stack(states)


def scan_operator(model: LoopGRU) -> Program:
    """The cell, compiled by inductor, in torch's `scan` operator; on the operator inductor fails (torch 2.13)."""

    @torch.compile(dynamic=False)
    def combine(h: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        a, b = model.from_input(x).chunk(3, -1), model.from_state(h).chunk(3, -1)
        reset, update = torch.sigmoid(a[0] + b[0]), torch.sigmoid(a[1] + b[1])
        h = (1 - update) * torch.tanh(a[2] + reset * b[2]) + update * h
        return h, h.clone()

    def program(x: Tensor) -> Tensor:
        return scan(combine, torch.zeros_like(x[0]), x)[1]

    return program


def recurrence(fast: Any) -> str:
    """The name of the loop whose steps depend on one another."""
    return next(loop.name for loop in fast.report().loops if (loop.depth or 0) > 1)


def compiled(model: nn.Module, text: str, x: Tensor) -> Any:
    """The program under one schedule, or None where that does not apply."""
    lengths = {"x": {0: torch.export.Dim("T")}}
    backend = "inductor" if text == "auto" else "eager"
    if "{loop}" in text:
        first = fxsolve.compile(model, schedule="gs", backend="eager")
        first(x[:32])
        text = text.format(loop=recurrence(first))
    fast = fxsolve.compile(model, schedule=text, backend=backend, dynamic_shapes=lengths)
    try:
        fast(x)
    except FxSolveError:
        return None
    return fast if fast.report().status == "emitted" else None


def timed(program: Program, x: Tensor, budget: float) -> tuple[Tensor, float]:
    """The output, and the median of up to five runs in ms; of one, where it takes longer than the budget."""
    times: list[float] = []
    output = x
    while len(times) < 5 and sum(times) < budget:
        start = time.perf_counter()
        output = program(x)
        times.append(time.perf_counter() - start)
    return output, statistics.median(times) * 1e3


def contenders() -> dict[str, Callable[[LoopGRU, Tensor], Program | None]]:
    """How to make each program that is timed beside the loop as written; None where a method does not apply."""

    def method(name: str, text: str) -> Callable[[LoopGRU, Tensor], Program | None]:
        def make(model: LoopGRU, x: Tensor) -> Program | None:
            too_large = name.startswith("Newton") and model.size > LARGEST_NEWTON
            return None if too_large else compiled(model, text, x)

        return make

    return {
        "nn.GRU": lambda model, x: library_gru(model),
        "scan operator, inductor": lambda model, x: scan_operator(model),
        **{name: method(name, text) for name, text in METHODS.items()},
    }


def measure_size(size: int, batch: int, lengths: tuple[int, ...], budget: float) -> Iterator[Row]:
    """All contenders at rising lengths, each until it takes longer than the budget."""
    torch.manual_seed(0)
    model = LoopGRU(size).eval().requires_grad_(False)
    left = contenders()
    for steps in lengths:
        x = torch.randn(steps, batch, size)
        expected, ms = timed(model, x, budget)
        yield Row("GRU", steps, size, batch, "loop as written", ms, steps, 0.0, "")
        for name, make in list(left.items()):
            if steps > LONGEST_COMPILED and name in ("automatic", "scan operator, inductor"):
                continue
            program = make(model, x)
            if program is None:
                del left[name]
                continue
            program(x)
            output, ms = timed(program, x, budget)
            if ms > 1e3 * budget:
                del left[name]
            yield make_row("GRU", x, name, program, ms, float((output - expected).abs().max()))


def make_row(cell: str, x: Tensor, name: str, program: Any, ms: float, error: float) -> Row:
    steps, batch, size = x.shape
    if not isinstance(program, Compiled):
        return Row(cell, steps, size, batch, name, ms, steps, error, "")
    return Row(cell, steps, size, batch, name, ms, iterations(program, x), error, str(program.schedule))


def iterations(program: Any, x: Tensor) -> int:
    """The sweeps or steps of the recurrence."""
    with observe() as seen:
        program(x)
    name = recurrence(program)
    return next(one.sweeps for one in seen if one.name == name)


def count_tanh(lengths: tuple[int, ...], budget: float) -> Iterator[Row]:
    """Iterations of a contractive tanh RNN."""
    for steps in lengths:
        torch.manual_seed(0)
        model, x = TanhRNN(16).eval().requires_grad_(False), torch.randn(steps, 1, 16)
        expected, _ = timed(model, x, budget)
        for name, text in COUNTED.items():
            program = compiled(model, text, x)
            if program is not None:
                output, ms = timed(program, x, budget)
                yield make_row("tanh RNN", x, name, program, ms, float((output - expected).abs().max()))


def count_backward(lengths: tuple[int, ...]) -> Iterator[Row]:
    """Jacobi sweeps of the backward pass of Song's RNN, to a relative 1e-6."""
    for steps in lengths:
        torch.manual_seed(0)
        model, x = SongRNN(), torch.rand(1, steps, 1)
        gradients = torch.autograd.grad(model(x), list(model.parameters()))

        def run(x: Tensor, model: SongRNN = model) -> tuple[Tensor, ...]:
            with torch.enable_grad():
                return torch.autograd.grad(model(x), list(model.parameters()))

        fast = fxsolve.compile(run, schedule="jacobi", backend="eager")
        fast(x)
        start = time.perf_counter()
        with observe() as seen:
            found = fast(x)
        ms = (time.perf_counter() - start) * 1e3
        loops = [loop for loop in fast.report().loops if loop.affine and (loop.depth or 0) > 1]
        reverse = {loop.name for loop in loops if not loop.name.endswith("_sums")}
        sweeps = max(one.sweeps for one in seen if one.name in reverse and one.method == "jacobi")
        error = max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, gradients, strict=True))
        yield Row("Song's RNN, backward", steps, 128, 1, "Jacobi", ms, sweeps, error, str(fast.schedule))


def all_rows(chosen: argparse.Namespace) -> Iterator[Row]:
    lengths = LENGTHS[:2] if chosen.quick else LENGTHS
    yield from count_backward((100,) if chosen.quick else (100, 784, 4096))
    with torch.no_grad():
        yield from count_tanh(lengths[:3], chosen.budget)
    for size in SIZES[:2] if chosen.quick else SIZES:
        for batch in BATCHES[:1] if chosen.quick else BATCHES:
            with torch.no_grad():
                yield from measure_size(size, batch, lengths, chosen.budget)


def plot(rows: list[Row], path: Path) -> None:
    """Time against length, one panel for each size and batch."""
    panels = sorted({(row.size, row.batch) for row in rows if row.cell == "GRU"})
    if not panels:
        return
    figure, axes = plt.subplots(2, -(-len(panels) // 2), figsize=(16, 8), sharex=True, squeeze=False)
    methods = list(dict.fromkeys(row.method for row in rows if row.cell == "GRU"))
    for axis, (size, batch) in zip(axes.T.flat, panels, strict=False):
        for number, method in enumerate(methods):
            line = [row for row in rows if (row.cell, row.size, row.batch, row.method) == ("GRU", size, batch, method)]
            style = "--" if method == "loop as written" else "-"
            axis.plot(
                [r.steps for r in line], [r.ms for r in line], style, marker="o", ms=3, color=f"C{number}", label=method
            )
        axis.set(xscale="log", yscale="log", title=f"GRU, H={size}, B={batch}")
        axis.grid(alpha=0.3)
    for axis in axes[-1]:
        axis.set_xlabel("steps T")
    for axis in axes[:, 0]:
        axis.set_ylabel("ms")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncol=len(labels))
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.savefig(path, dpi=110)


def write(rows: list[Row], chosen: argparse.Namespace, folder: Path) -> None:
    """What was measured so far."""
    record = {
        "benchmark": "solvers",
        "device": device_name("cpu"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
        "settings": {"threads": THREADS, "budget_s": chosen.budget, "statistic": "median of up to 5 runs"},
        "rows": [asdict(row) for row in rows],
    }
    (folder / "solvers.json").write_text(json.dumps(record, indent=1) + "\n")
    plot(rows, folder / "solvers.png")


def main() -> None:
    parsed = options("solvers", __doc__ or "")
    chosen = argparse.Namespace(**vars(parsed), budget=0.5 if parsed.quick else 1.5)
    folder = QUICK_RESULTS if chosen.quick else RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for row in all_rows(chosen):
        rows.append(row)
        numbers = f"{row.ms:.2f} ms, {row.iterations} iterations, error {row.error:.1e}"
        print(f"{row.cell} T={row.steps} H={row.size} B={row.batch} {row.method}: {numbers}", flush=True)
        if row.method == "automatic" or row.cell != "GRU":
            write(rows, chosen, folder)
    print(f"written: {folder / 'solvers.json'} and solvers.png")


if __name__ == "__main__":
    main()
