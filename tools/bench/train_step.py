"""One training step, forward and `loss.backward()`, of loops over time and layers: compiled against eager autograd.

Song et al. 2021, section 5.1: a softplus RNN of 128 units that predicts the next pixel, batch 1. DeepPCR (2309.16318),
section 5.1: a deep, narrow residual network of equal layers. The "difference" is the largest one of a gradient entry,
relative to the largest entry of that gradient.

Every case has a process of its own, as a training script has: fresh memory is slow, and whether memory is fresh depends
on what earlier programs left of the heap. In one process, behind the others, the GRU gained 2.1x instead of 2.7x.
"""

import copy
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor, nn

import fxsolve
from fxsolve.solvers.solution import observe
from measure import THREADS, Case, interleaved, options, save

from gru_loop import LoopGRU

Step = Callable[[Tensor], Tensor]


class SongRNN(nn.Module):
    """h_{t+1} = softplus(W_h h_t + W_x x_t + b), o_t = W_o h_t + c, loss mean_t (o_t - x_t)^2: (B, T, 1) -> ()."""

    def __init__(self, size: int = 128) -> None:
        super().__init__()
        self.size = size
        self.from_state = nn.Parameter(torch.randn(size, size) * 0.1)
        self.from_input = nn.Parameter(torch.randn(size, 1) * 0.1)
        self.bias = nn.Parameter(torch.zeros(size))
        self.to_output = nn.Parameter(torch.randn(1, size) * 0.1)
        self.output_bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[0], self.size)
        predicted = []
        for t in range(x.shape[1]):
            predicted.append(F.linear(h, self.to_output, self.output_bias))
            h = F.softplus(F.linear(h, self.from_state) + F.linear(x[:, t], self.from_input) + self.bias)
        return (torch.stack(predicted, 1) - x).square().mean()


class GruLoss(nn.Module):
    """The mean square of all states of a GRU written as a loop: (T, B, H) -> ()."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.gru = LoopGRU(size)

    def forward(self, x: Tensor) -> Tensor:
        return self.gru(x).square().mean()


class ResidualMLP(nn.Module):
    """x_{i+1} = x_i + W_2 relu(W_1 x_i + b_1) + b_2 for `depth` blocks, loss mean x^2: (B, width) -> ()."""

    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        blocks = (nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)) for _ in range(depth))
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        return x.square().mean()


def cases() -> dict[str, tuple[nn.Module, Tensor, float]]:
    """Program, input and the least ratio that is expected, by name."""
    torch.manual_seed(0)
    return {
        "Song's RNN, H=128, B=1, T=784": (SongRNN(), torch.rand(1, 784, 1), 4.0),
        "Song's RNN, H=128, B=1, T=4096": (SongRNN(), torch.rand(1, 4096, 1), 5.0),
        "GRU loop, H=64, B=16, T=1024": (GruLoss(64), torch.randn(1024, 16, 64), 2.5),
        "residual MLP, 256 blocks of width 32, B=1": (ResidualMLP(256, 32), torch.randn(1, 32), 3.0),
    }


def training_step(program: Callable[[Tensor], Tensor], model: nn.Module) -> Step:
    """The loss, and the gradients of all parameters in their `grad`."""
    parameters = list(model.parameters())

    def step(x: Tensor) -> Tensor:
        for parameter in parameters:
            parameter.grad = None
        with torch.enable_grad():
            loss = program(x)
            loss.backward()
        return loss.detach()

    return step


def difference(model: nn.Module, original: nn.Module) -> float:
    """The largest difference of a gradient entry, relative to the largest entry of that gradient."""
    pairs = [(a.grad, b.grad) for a, b in zip(model.parameters(), original.parameters(), strict=True)]
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)  # pyright: ignore


def measure(name: str, repeats: int) -> Case:
    torch.set_num_threads(THREADS)
    original, x, prediction = cases()[name]
    model = copy.deepcopy(original)
    fast = fxsolve.compile(model, mode="max-autotune")
    steps: dict[str, Step] = {"eager": training_step(original, original), "fxsolve": training_step(fast, model)}
    with Console(stderr=True).status(f"{name}: compiling"):
        start = time.perf_counter()
        steps["fxsolve"](x)
        first_call = time.perf_counter() - start
    with Console(stderr=True).status(f"{name}: measuring"):
        ms = interleaved(steps, (x,), repeats)  # pyright: ignore[reportArgumentType]
        equal = torch.equal(steps["eager"](x), steps["fxsolve"](x))
        worst = difference(model, original)
        with observe() as seen:
            steps["fxsolve"](x)
    print(fast.report())
    return Case(
        name=name,
        ms=ms,
        baseline="eager",
        prediction=prediction,
        schedule=str(fast.schedule),
        solved=[f"{one.name}: {one.method} {one.sweeps} of {one.length}" for one in seen],
        equal=equal and worst == 0,
        difference=worst,
        first_call_s=first_call,
        stages_s=dict(fast.report().seconds),
    )


def main() -> None:
    chosen = options("train_step", __doc__ or "")
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as process:
        measured = [process.submit(measure, name, chosen.repeats).result() for name in cases()]
    save(chosen, "train_step", measured)


if __name__ == "__main__":
    main()
