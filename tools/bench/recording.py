"""What a first call without compiling costs beside an eager run, stage by stage, for programs that people run.

One thread, CPU time, in rounds: each round runs every stage once, and the medians of the rounds are told. "record" has
the eager run in it, in training the backward pass too; "functional" is all that capture does behind it, "fold" looks
for loops that stop on a value, "partition" makes the system. Weights are not trained: no stage looks at them.
"""

import argparse
import cProfile
import json
import pstats
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from capture import LoopGRU, count_calls
from torch import Tensor, nn
from torchdiffeq import odeint

from fxsolve.capture.capture import _build
from fxsolve.capture.communication import Line
from fxsolve.capture.functional.functionalize import functionalize
from fxsolve.capture.pause import paused_collector
from fxsolve.capture.record.record import record
from fxsolve.loops.partition import partition
from fxsolve.loops.stopping.fold import fold_stops
from fxsolve.state.stores import NO_LIVE

sys.path.append(str(Path(__file__).resolve().parents[2] / "examples"))
import gpt_sampling
import pixelcnn_sampling
import wavenet_sampling

STAGES = ("record", "functional", "fold", "partition")


class Pendulum(nn.Module):
    """A small network as the right-hand side of a differential equation."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 64), nn.Tanh(), nn.Linear(64, 3))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.net(y * torch.cos(5 * t))


def adaptive() -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """An adaptive solver over 20 times: its loop stops on a value."""
    field, times = Pendulum(), torch.linspace(0, 5, 20)
    return lambda y: odeint(field, y, times, rtol=1e-6, atol=1e-6, method="dopri5"), (torch.randn(8, 3),)


def trained(model: nn.Module) -> Callable[[Tensor], Any]:
    """A run of the model and of its backward pass."""
    return lambda x: torch.autograd.grad(model(x).sum(), list(model.parameters()))


def programs(quick: bool) -> dict[str, tuple[Callable[..., Any], Callable[..., Any], tuple[Any, ...], bool]]:
    """By name: what is recorded, what runs eagerly as long, the arguments, whether gradients are wanted."""
    torch.manual_seed(0)
    T, side = (64, 4) if quick else (1024, 8)
    gru, x = LoopGRU(32), torch.randn(T, 1, 32)
    pixels = pixelcnn_sampling.sampler(pixelcnn_sampling.PixelCNN(1).eval(), 4, 1, side)
    gpt = gpt_sampling.sampler(gpt_sampling.GPT(90).eval(), 16 if quick else 127)
    wave = wavenet_sampling.sampler(wavenet_sampling.WaveNet().eval(), 1, 16 if quick else 200)
    solver, start = adaptive()
    return {
        "GRU": (gru, gru, (x,), False),
        "GRU, trained": (gru, trained(gru), (x,), True),
        "PixelCNN++": (pixels, pixels, (), False),
        "GPT": (gpt, gpt, (torch.full((1, 1), 3),), False),
        "WaveNet": (wave, wave, (), False),
        "dopri5": (solver, solver, start, False),
    }


def stages(program: Callable[..., Any], args: tuple[Any, ...]) -> tuple[dict[str, float], int]:
    """Seconds of each stage, and how many calls were recorded."""
    spent: dict[str, float] = {}

    def timed(stage: str, function: Callable[..., Any], *arguments: Any) -> Any:
        start = time.process_time()
        try:
            return function(*arguments)
        finally:
            spent[stage] = time.process_time() - start

    with paused_collector():  # as `capture` does
        raw = timed("record", record, program, args, {}, NO_LIVE, Line())
        captured = timed("functional", lambda: _build(functionalize(raw), "program"))
    calls = count_calls(raw)
    timed("partition", partition, timed("fold", fold_stops, captured))
    return spent, calls


def seconds(function: Callable[..., Any], args: tuple[Any, ...]) -> float:
    start = time.process_time()
    function(*args)
    return time.process_time() - start


def measure(name: str, rounds: int, quick: bool) -> dict[str, Any]:
    """One row: medians over the rounds, in seconds, and what they are of an eager run."""
    program, eager, args, wants_gradients = programs(quick)[name]
    with torch.set_grad_enabled(wants_gradients):
        seconds(eager, args)
        found = [(seconds(eager, args), *stages(program, args)) for _ in range(rounds)]
    own = statistics.median(one for one, _, _ in found)
    row = {stage: statistics.median(spent[stage] for _, spent, _ in found) for stage in STAGES}
    total = sum(row.values())
    recording = total - row["partition"]
    ratios = {"recording / eager": recording / own, "first call / eager": total / own}
    return {"program": name, "calls": found[0][2], "eager": own, **row, **ratios}


def profile(name: str, quick: bool, lines: int) -> None:
    """Print where the time of all stages goes."""
    program, _, args, wants_gradients = programs(quick)[name]
    with torch.set_grad_enabled(wants_gradients):
        profiler = cProfile.Profile(time.process_time)
        profiler.runcall(stages, program, args)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/recording.json"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", help="names of programs")
    parser.add_argument("--quick", action="store_true", help="short loops: checks that the script runs")
    parser.add_argument("--profile", type=int, metavar="LINES", help="print a profile of each instead")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in options.only or programs(options.quick):
        if options.profile:
            profile(name, options.quick, options.profile)
            continue
        rows.append(row := measure(name, options.rounds, options.quick))
        spent = ", ".join(f"{stage} {row[stage]:.2f}" for stage in ("eager", *STAGES))
        print(
            f"{name}, {row['calls']} calls: {spent} s; recording {row['recording / eager']:.1f}x, all "
            f"{row['first call / eager']:.1f}x of eager",
            flush=True,
        )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
