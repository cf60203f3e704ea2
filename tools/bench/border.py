"""Whether programs that gain next to nothing are decided alike each time, and never made slower.

Each program is compiled ten times anew in a process of its own, one thread, with no decisions kept on disk. After its
first 50 calls, it and the program itself are called in turn, four times each: medians of CPU seconds of whole calls,
backward passes included.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from economy import Deep, Flow, Recurrent
from torch import Tensor, nn

import fxsolve
from measure import QUICK_RESULTS, RESULTS, THREADS, write_record

COMPILATIONS = 10
FIRST = 50  # calls, in which a wrong race has to end
TURNS = 5
ROW = 4
LEAST = 0.95  # times as fast as the program itself


class Smooth(nn.Module):
    """An average that moves over time: (T, n) -> (T, n)."""

    def forward(self, x: Tensor) -> Tensor:
        h, rows = x[0], []
        for row in x:
            h = torch.lerp(h, row, 0.1)
            rows.append(h)
        return torch.stack(rows)


class Filter(nn.Module):
    """Kalman filter of a constant model: (T, B, m) -> the last mean (B, n)."""

    def __init__(self, n: int = 4, m: int = 2) -> None:
        super().__init__()
        self.move, self.look = nn.Parameter(0.9 * torch.eye(n)), nn.Parameter(torch.randn(m, n))

    def forward(self, x: Tensor) -> Tensor:
        mean, spread = x.new_zeros(x.shape[1], len(self.move)), torch.eye(len(self.move))
        noise = 0.1 * torch.eye(len(self.look))
        for seen in x:
            mean, spread = mean @ self.move.T, self.move @ spread @ self.move.T + 0.01
            gain = spread @ self.look.T @ torch.linalg.inv(self.look @ spread @ self.look.T + noise)
            mean, spread = mean + (seen - mean @ self.look.T) @ gain.T, spread - gain @ self.look @ spread
        return mean


def programs() -> Iterator[tuple[str, Callable[[], nn.Module], tuple[int, ...], bool]]:
    """Name, program, size of its input, and whether it is trained."""
    yield "GRU, T=32, B=16", lambda: Recurrent(nn.GRUCell(16, 64)), (16, 32, 16), False
    yield "LSTM, T=64, B=32", lambda: Recurrent(nn.LSTMCell(16, 160)), (32, 64, 16), False
    yield "wide RNN, T=48, B=32", lambda: Recurrent(nn.RNNCell(16, 512)), (32, 48, 16), False
    yield "RNN, T=24, B=4", lambda: Recurrent(nn.RNNCell(8, 16)), (4, 24, 8), False
    yield "Euler steps", Flow, (64, 16), False
    yield "60 wide layers", lambda: Deep(256, 60), (64, 256), False
    yield "moving average, T=40", Smooth, (40, 64), False
    yield "Kalman filter, T=32", Filter, (32, 4, 2), False
    yield "GRU, T=32, B=16, training", lambda: Recurrent(nn.GRUCell(16, 64)), (16, 32, 16), True
    yield "40 layers, training", lambda: Deep(64, 40), (32, 64), True


@dataclass(frozen=True)
class Bordering:
    """Of ten compilations: how many came to the same decision, and how fast the slowest and the median one are."""

    name: str
    compilations: int
    alike: int
    schedules: dict[str, int]
    least_ratio: float
    median_ratio: float
    ratios: list[float]


def call(program: Callable[..., Any], x: Tensor, is_trained: bool) -> float:
    """CPU seconds of one call."""
    began = time.thread_time()
    with torch.set_grad_enabled(is_trained):
        result = program(x)
        if is_trained:
            result.square().mean().backward()
    return time.thread_time() - began


def decide(model: nn.Module, x: Tensor, is_trained: bool) -> tuple[str, float]:
    """The decision of one compilation, and how much faster it is than the model."""
    fast = fxsolve.compile(model, on_left_alone="ignore")
    for _ in range(FIRST):
        call(fast, x, is_trained)
    # In a row, as programs are used; the first call of each row finds the caches full of the other form.
    slow, quick = [], []
    for _ in range(TURNS):
        slow += [call(model, x, is_trained) for _ in range(ROW)][1:]
        quick += [call(fast, x, is_trained) for _ in range(ROW)][1:]
    return str(fast.schedule), statistics.median(slow) / statistics.median(quick)


def border(name: str, compilations: int) -> Bordering:
    """All compilations of one program, in this process."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    _, make, size, is_trained = next(one for one in programs() if one[0] == name)
    model, x = make(), torch.randn(size)
    found = [decide(model, x, is_trained) for _ in range(compilations)]
    schedules = Counter(schedule for schedule, _ in found)
    ratios = [ratio for _, ratio in found]
    alike = max(schedules.values())
    return Bordering(name, compilations, alike, dict(schedules), min(ratios), statistics.median(ratios), ratios)


def main() -> None:
    if "--one" in sys.argv:
        print(json.dumps(asdict(border(sys.argv[2], int(sys.argv[3])))))
        return
    quick, found = "--quick" in sys.argv, []
    names = [name for name, *_ in programs()]
    for name in names[6:7] if quick else names:
        command = [sys.executable, __file__, "--one", name, str(2 if quick else COMPILATIONS)]
        given = {**os.environ, "FXSOLVE_CACHE": "off"}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=given)
        found.append(json.loads(done.stdout.splitlines()[-1]))
        one = found[-1]
        print(
            f"{name:28} {one['alike']} of {one['compilations']} alike, {one['least_ratio']:.2f}x at least", flush=True
        )
    statistic = f"medians of {TURNS * (ROW - 1)} CPU seconds behind {FIRST} calls"
    settings = {"threads": THREADS, "mode": "default", "statistic": statistic}
    record = {
        "alike": sum(one["alike"] for one in found),
        "least_ratio": min(one["least_ratio"] for one in found),
        "cases": found,
    }
    out = (QUICK_RESULTS if quick else RESULTS) / "border.json"
    write_record(out, "border", settings, record)
    print(f"{record['alike']} of {sum(one['compilations'] for one in found)} alike; written: {out}")


if __name__ == "__main__":
    main()
