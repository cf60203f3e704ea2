"""What recording and functionalizing cost per ATen call, as the number of steps grows, against the plain run.

One thread, medians of CPU time, so that other work on the machine does not count.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload

from fxsolve.tracer.functionalize import functionalize
from fxsolve.tracer.record import Record, record


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
        start = time.process_time()
        value = function()
        times.append(time.process_time() - start)
    return statistics.median(times), value


def measure(name: str, program: Callable[[Tensor], Tensor], x: Tensor, repeats: int) -> dict[str, Any]:
    """One row: T, the number of calls, and microseconds per call."""
    eager, _ = seconds(lambda: program(x), repeats)
    recording, raw = seconds(lambda: record(program, (x,), {}), repeats)
    functionalizing, _ = seconds(lambda: functionalize(raw), repeats)
    calls = count_calls(raw)
    row = {"eager": eager, "record": recording - eager, "functionalize": functionalizing}
    return {"program": name, "T": x.shape[0], "calls": calls} | {k: v / calls * 1e6 for k, v in row.items()}


def count_calls(raw: Record) -> int:
    return sum(isinstance(node.target, OpOverload) for node in raw.graph.nodes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/capture.json"))
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = []
    with torch.no_grad():
        for T in (256, 1024, 4096):
            for name, program, x in (
                ("GRU loop", LoopGRU(32), torch.randn(T, 1, 32)),
                ("column writes", write_columns, torch.randn(T, 8)),
            ):
                rows.append(row := measure(name, program, x, options.repeats))
                costs = ", ".join(f"{key} {row[key]:.1f}" for key in ("eager", "record", "functionalize"))
                print(f"{name} T={T}, {row['calls']} calls: {costs} us per call")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
