"""What a call costs besides: one that is left alone, in us, and what autograd alone takes for 1,024 parameters.

The least of many calls that take turns, one thread. "look" is a call through fxsolve less one of the program itself.
"""

import json
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor, nn
from train_step import ResidualMLP

import fxsolve
from measure import QUICK_RESULTS, RESULTS, THREADS, device_name, options

Call = Callable[[], object]


class Bottleneck(nn.Module):
    """Three convolutions with batch norms, and the input: (B, 8, n, n) -> the same."""

    def __init__(self) -> None:
        super().__init__()
        sizes = ((8, 2, 1), (2, 2, 3), (2, 8, 1))
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, k, padding=k // 2, bias=False) for a, b, k in sizes)
        self.norms = nn.ModuleList(nn.BatchNorm2d(b) for _, b, _ in sizes)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            y = torch.relu(norm(convolution(y)))
        return x + y


class Nothing(torch.autograd.Function):
    """A backward pass that computes nothing."""

    @staticmethod
    def forward(ctx: Any, *parameters: Tensor) -> Tensor:
        ctx.zeros = [torch.zeros_like(parameter) for parameter in parameters]
        return torch.zeros(())

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> Any:
        return tuple(ctx.zeros)


def least(calls: dict[str, Call], repeats: int) -> dict[str, float]:
    """The shortest time of each call in microseconds."""
    found = dict.fromkeys(calls, float("inf"))
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            found[name] = min(found[name], (time.perf_counter() - start) * 1e6)
    return found


def look(program: Callable[[Tensor], Tensor], x: Tensor, repeats: int) -> float:
    """The cost of a call that fxsolve leaves alone, beside the program's own."""
    fast = fxsolve.compile(program, mode="max-autotune")
    fast(x)
    if fast.report().status != "left alone":
        raise RuntimeError(f"{fast.report().program} was compiled: {fast.schedule}")
    times = least({"alone": lambda: program(x), "through": lambda: fast(x)}, repeats)
    return times["through"] - times["alone"]


def autograd(repeats: int) -> dict[str, float]:
    """Backward passes of the residual MLP, in us: its own, and one that computes nothing for the same parameters."""
    model, x = ResidualMLP(256, 32), torch.randn(1, 32)
    parameters = list(model.parameters())
    losses: dict[str, Callable[[], Tensor]] = {
        "backward of the MLP": lambda: model(x),
        "backward that computes nothing": lambda: Nothing.apply(*parameters),  # pyright: ignore
    }
    found = dict.fromkeys(losses, float("inf"))
    for _ in range(repeats):
        for name, loss_of in losses.items():
            model.zero_grad()
            loss = loss_of()
            found[name] = min(found[name], least({name: loss.backward}, 1)[name])
    return found


def rows(repeats: int) -> dict[str, float]:
    found = autograd(repeats)
    with torch.no_grad():
        found["look, function"] = look(lambda x: x * 2 + 1, torch.randn(4), 50 * repeats)
        resnet = nn.Sequential(*(nn.Sequential(Bottleneck(), nn.Identity()) for _ in range(2))).eval()
        found["look, 2 bottleneck blocks"] = look(resnet, torch.randn(1, 8, 4, 4), 50 * repeats)
        layers = nn.Sequential(*(nn.Linear(n, n + 1) for n in range(1, 512))).eval()
        found["look, 511 modules with 1,022 parameters"] = look(layers, torch.randn(1, 1), 10 * repeats)
    return found


def main() -> None:
    chosen = options("calls", __doc__ or "")
    torch.manual_seed(0)
    found = rows(chosen.repeats if chosen.quick else 20)
    for name, us in found.items():
        print(f"{name}: {us:.1f} us")
    folder = QUICK_RESULTS if chosen.quick else RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "device": device_name("cpu"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
        "settings": {"threads": THREADS, "statistic": "least"},
        "us": found,
    }
    (folder / "calls.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
