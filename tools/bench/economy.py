"""What compiling costs and gives over the first calls of programs: CPU seconds in all, compiler processes included.

"eager" is the program itself, called as often on equal inputs; each kind of use in a process of its own, one thread.
"""

import json
import random
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

import fxsolve
from measure import QUICK_RESULTS, RESULTS, THREADS, write_record

Use = Callable[[Callable[..., Any]], object]


class Recurrent(nn.Module):
    """A recurrent cell over time, batch first: (B, T, n) -> the last state (B, m)."""

    def __init__(self, cell: nn.RNNCellBase) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), self.cell.hidden_size)
        state: Any = (h, h) if isinstance(self.cell, nn.LSTMCell) else h
        for t in range(x.shape[1]):
            state = self.cell(x[:, t], state)
        return state[0] if isinstance(state, tuple) else state


class Flow(nn.Module):
    """Euler steps of a flow: (B, 16) -> (B, 16)."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(17, 256), nn.SiLU(), nn.Linear(256, 16))

    def forward(self, x: Tensor) -> Tensor:
        for k in range(60):
            x = x + self.net(torch.cat([x, x.new_full((len(x), 1), k / 60)], 1)) / 60
        return x


class Deep(nn.Module):
    """Residual layers: (B, n) -> (B, n)."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + torch.relu(layer(x))
        return x


def train(model: nn.Module, steps: int) -> Use:
    """Steps of training in epochs of 12, the last batch smaller, and one call without gradients behind each."""

    def use(program: Callable[..., Any]) -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        for k in range(steps):
            x = torch.randn(16 if k % 12 < 11 else 5, 64, 16)
            optimizer.zero_grad()
            program(x).square().mean().backward()
            optimizer.step()
            if k % 12 == 11:
                with torch.no_grad():
                    program(x)

    return use


def sample(calls: int, *size: int) -> Use:
    """Calls without gradients on inputs of one size."""

    def use(program: Callable[..., Any]) -> None:
        with torch.no_grad():
            for _ in range(calls):
                program(torch.randn(size))

    return use


def lengths(calls: int, kinds: int) -> Use:
    """Calls of ever new lengths."""

    def use(program: Callable[..., Any]) -> None:
        drawn = random.Random(0)
        known = [drawn.randint(100, 300) for _ in range(kinds)]
        with torch.no_grad():
            for k in range(calls):
                program(torch.randn(8, known[k % kinds], 16))

    return use


def uses() -> Iterator[tuple[str, Callable[[], nn.Module], Callable[[nn.Module], Use]]]:
    """Name, program, and what is done with it."""
    yield "GRU, 40 calls of 35 lengths", lambda: Recurrent(nn.GRUCell(16, 16)), lambda _: lengths(40, 35)
    yield "GRU, 60 steps of training", lambda: Recurrent(nn.GRUCell(16, 32)), lambda model: train(model, 60)
    yield "GRU, 600 steps of training", lambda: Recurrent(nn.GRUCell(16, 32)), lambda model: train(model, 600)
    yield "wide RNN, 6 calls", lambda: Recurrent(nn.RNNCell(16, 512)), lambda _: sample(6, 32, 48, 16)
    yield "LSTM, 6 calls", lambda: Recurrent(nn.LSTMCell(16, 160)), lambda _: sample(6, 32, 64, 16)
    yield "Euler steps, 6 calls", Flow, lambda _: sample(6, 64, 16)
    yield "60 wide layers, 6 calls", lambda: Deep(256, 60), lambda _: sample(6, 64, 256)
    yield "Euler steps, 2,000 calls", Flow, lambda _: sample(2000, 64, 16)


@dataclass(frozen=True)
class Spent:
    """CPU seconds of a use, and what answered the last call."""

    name: str
    eager_s: float
    fxsolve_s: float
    schedule: str


def cpu_seconds() -> float:
    found = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in found)


def spend(name: str) -> Spent:
    """One use, in this process."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    _, make, how = next(one for one in uses() if one[0] == name)
    model = make()
    use = how(model)
    taken = []
    fast = fxsolve.compile(model)
    for program in (model, fast):
        torch.manual_seed(1)
        began = cpu_seconds()
        use(program)
        taken.append(cpu_seconds() - began)
    eager, ours = taken
    return Spent(name, eager, ours, str(fast.schedule))


def main() -> None:
    if len(sys.argv) > 2:
        print(json.dumps(asdict(spend(sys.argv[2]))))
        return
    quick = "--quick" in sys.argv
    names = [name for name, _, _ in uses()][3:4] if quick else [name for name, _, _ in uses()]
    found = []
    for name in names:
        done = subprocess.run([sys.executable, __file__, "--one", name], capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout.splitlines()[-1]))
        print(f"{name:32} eager {found[-1]['eager_s']:8.2f} s   fxsolve {found[-1]['fxsolve_s']:8.2f} s", flush=True)
    settings = {"threads": THREADS, "mode": "default", "statistic": "CPU seconds of all calls, with children"}
    out = (QUICK_RESULTS if quick else RESULTS) / "economy.json"
    write_record(out, "economy", settings, {"cases": found})
    print(f"written: {out}")


if __name__ == "__main__":
    main()
