"""What recording, functionalizing and partitioning cost per ATen call, and in memory, as the number of steps grows.

One thread, medians of CPU time, so that other work on the machine does not count; "record" is what recording adds to a
plain run. Memory is that of a fresh process, resident, beyond what it had after a short run: what the captured program
keeps, and the peak until it is partitioned.
"""

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload

from fxsolve.capture.capture import capture
from fxsolve.capture.communication import Line
from fxsolve.capture.functional.functionalize import functionalize
from fxsolve.capture.record.record import Record, record
from fxsolve.loops.partition import partition
from fxsolve.state.stores import NO_LIVE


class LoopGRU(nn.Module):
    """A GRU as a Python loop over x of shape (T, B, n)."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.read, self.keep = nn.Linear(n, 3 * n), nn.Linear(n, 3 * n)

    def forward(self, x: Tensor) -> Tensor:
        h, states = x.new_zeros(x.shape[1:]), []
        for t in range(x.shape[0]):
            (a, b, c), (d, e, f) = self.read(x[t]).chunk(3, -1), self.keep(h).chunk(3, -1)
            z = torch.sigmoid(b + e)
            h = (1 - z) * torch.tanh(c + torch.sigmoid(a + d) * f) + z * h
            states.append(h)
        return torch.stack(states)


def write_columns(x: Tensor) -> Tensor:
    """Each row of x (T, B) becomes a column that depends on the one before, written in place."""
    y = torch.zeros(x.shape[1], x.shape[0] + 1)
    for t in range(x.shape[0]):
        y[:, t + 1] = torch.tanh(y[:, t] + x[t])
    return y


def seconds(function: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Median CPU time of a call, and the value of the last one."""
    times, value = [], None
    for _ in range(repeats):
        value = None  # freeing the graph of the call before is not part of this one
        start = time.process_time()
        value = function()
        times.append(time.process_time() - start)
    return statistics.median(times), value


def case(name: str, T: int) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """The program called `name` and its input for T steps."""
    torch.manual_seed(0)
    if name == "GRU loop":
        return LoopGRU(32), torch.randn(T, 1, 32)
    return write_columns, torch.randn(T, 8)


@torch.no_grad()
def measure(name: str, T: int, repeats: int) -> dict[str, Any]:
    """Microseconds per call of each stage."""
    program, x = case(name, T)
    eager, _ = seconds(lambda: program(x), repeats)
    recording, raw = seconds(lambda: record(program, (x,), {}, NO_LIVE, Line()), repeats)
    functionalizing, _ = seconds(lambda: functionalize(raw), repeats)
    calls = count_calls(raw)
    captured = capture(program, (x,), {})
    partitioning, _ = seconds(lambda: partition(captured), repeats)
    row = {
        "eager": eager,
        "record": recording - eager,
        "functionalize": functionalizing,
        "partition": partitioning,
    }
    return {"program": name, "T": T, "calls": calls} | {key: spent / calls * 1e6 for key, spent in row.items()}


def measure_memory(name: str, T: int) -> dict[str, float]:
    """Megabytes that the captured program keeps, and the peak, in a process of its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_memory, name, T).result()


@torch.no_grad()
def _memory(name: str, T: int) -> dict[str, float]:
    torch.set_num_threads(1)
    program, x = case(name, 16)
    partition(capture(program, (x,), {}))
    program, x = case(name, T)
    gc.collect()
    before = _status("VmRSS")
    captured = capture(program, (x,), {})
    gc.collect()
    kept = _status("VmRSS") - before
    partition(captured)
    return {"kept MiB": kept, "peak MiB": _status("VmHWM") - before}


def _status(field: str) -> float:
    """A line of /proc/self/status in MiB; the peak that `getrusage` tells may be that of the parent process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{field}:"))
    return int(line.split()[1]) / 1024


def count_calls(raw: Record) -> int:
    return sum(isinstance(node.target, OpOverload) for node in raw.graph.nodes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/capture.json"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, nargs="+", default=[256, 1024, 4096])
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for T in options.steps:
        for name in ("GRU loop", "column writes"):
            row = measure(name, T, options.repeats) | measure_memory(name, T)
            rows.append(row)
            costs = ", ".join(f"{key} {row[key]:.1f}" for key in ("eager", "record", "functionalize", "partition"))
            memory = f"captured {row['kept MiB']:.0f} MiB, peak {row['peak MiB']:.0f} MiB"
            print(f"{name} T={T}, {row['calls']} calls: {costs} us per call; {memory}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
