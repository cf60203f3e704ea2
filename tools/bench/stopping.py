"""Loops that stop on a value, on inputs that take other numbers of steps: the automatic choice, and steps in order.

Predictions, written down before this was run, with compiled steps of such programs at n=12 timed already; inputs of
Sinkhorn and of the adaptive steps were changed afterwards, for the number of their steps alone.
A step of these programs is 8 to 30 small calls of 1 to 2 us, of
which a compiled call of several steps makes as many as there are products and sums in them, each a little slower, and a
few for all that lies between. So elementwise steps (Newton) gain the most, then those with two products among 30 calls
(adaptive), then CG and the fixed point; Sinkhorn and power iteration are mostly products, and read numbers of Python:
they gain little, and may be left alone, at what it costs to look at a call. Steps in order, uncompiled, cost what the
program costs and 0.1 ms for a call.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.solvers.solution import Solution
from measure import Case, interleaved, options, save

from comparing import solutions, timed

WARM = 6  # calls, so that numbers of steps between those of the inputs are known
SEED = 3


def fixed_point(u: Tensor, weight: Tensor) -> Tensor:
    """A deep equilibrium layer: z = tanh(W z + u)."""
    z = new = torch.zeros_like(u)
    for _ in range(1000):
        new = torch.tanh(nn.functional.linear(z, weight) + u)
        if (new - z).abs().max() < 1e-5:
            break
        z = new
    return new


def conjugate_gradients(b: Tensor, matrix: Tensor) -> Tensor:
    x, r = torch.zeros_like(b), b
    p, square = r, r @ r
    for _ in range(500):
        product = matrix @ p
        alpha = square / (p @ product)
        x = x + alpha * p
        r = r - alpha * product
        new = r @ r
        if new.sqrt() < 1e-3:
            break
        p = r + new / square * p
        square = new
    return x


def sinkhorn(cost: Tensor, k: Tensor) -> Tensor:
    k = k * torch.exp(-cost)
    a = b = torch.ones(len(k))
    for _ in range(2000):
        b = 1 / (k.mT @ a)
        new = 1 / (k @ b)
        error = (new / a - 1).abs().max().item()
        a = new
        if error < 1e-5:
            break
    return a[:, None] * k * b


def newton_of_each_step(u: Tensor, start: Tensor) -> Tensor:
    """Implicit Euler, every step of which is solved by Newton."""
    x, states = start, []
    for t in range(len(u)):
        y = x
        for _ in range(50):
            residual = y - x - 0.5 * (u[t] - y**3)
            if residual.abs().max() < 1e-5:
                break
            y = y - residual / (1 + 1.5 * y**2)
        x = y
        states.append(x)
    return torch.stack(states)


def power_iteration(v: Tensor, matrix: Tensor) -> Tensor:
    rate, k = 0.0, 0
    while k < 2000:
        w = matrix @ v
        new = float(w.norm())
        v, k = w / new, k + 1
        if abs(new - rate) < 1e-7 * new:
            break
        rate = new
    return v


def adaptive(y: Tensor, weight: Tensor) -> Tensor:
    """Heun's method with step sizes that an estimate of the error decides, accept and reject in tensor form."""
    t, step = torch.tensor(0.0), torch.tensor(0.01)
    while t < 1:
        step = torch.minimum(step, 1 - t)
        slope = -nn.functional.linear(y, weight)
        middle = -nn.functional.linear(y + step * slope, weight)
        error = (step * (middle - slope) / 2).abs().max()
        accept = error < 1e-2
        y = torch.where(accept, y + step * (slope + middle) / 2, y)
        t = torch.where(accept, t + step, t)
        step = step * torch.clamp(0.9 * (1e-2 / (error + 1e-12)).sqrt(), 0.2, 2.0)
    return y


@dataclass(frozen=True)
class Measured:
    """A program of an input, another one at every call, and of a tensor that stays; the least ratio expected."""

    program: Callable[[Tensor, Tensor], Tensor]
    draw: Callable[[int], Tensor]
    kept: Tensor
    prediction: float


def _mixing(n: int, rate: float) -> Tensor:
    return nn.init.orthogonal_(torch.empty(n, n), rate)


def measured() -> dict[str, Measured]:
    """The programs, each with 50 to 500 steps in a call."""
    spread = _mixing(64, 1.0)
    return {
        "fixed point, (8, 64)": Measured(
            fixed_point, lambda k: torch.randn(8, 64) * (0.1 + 0.1 * k), _mixing(64, 0.97), 1.2
        ),
        "CG, n=64": Measured(
            conjugate_gradients,
            lambda k: torch.randn(64) * 2.0**k,
            spread @ torch.diag(torch.logspace(0, 3, 64)) @ spread.mT,
            1.3,
        ),
        "Sinkhorn, 32 x 32": Measured(
            sinkhorn, lambda k: torch.rand(32, 32) * (1 + k), torch.exp(-60 * torch.rand(32, 32)), 0.9
        ),
        "Newton in 64 steps, n=32": Measured(
            newton_of_each_step, lambda k: torch.randn(64, 32) * (1 + k), torch.ones(32), 2.0
        ),
        "power iteration, n=64": Measured(
            power_iteration,
            lambda k: torch.rand(64) + 0.1,
            spread @ torch.diag(torch.linspace(0.5, 1.0, 64)) @ spread.mT,
            0.9,
        ),
        "adaptive steps, (8, 64)": Measured(adaptive, lambda k: torch.randn(8, 64) * (1 + k), _mixing(64, 4.0), 1.5),
    }


def over(program: Callable[[Tensor, Tensor], Tensor], kept: Tensor) -> Callable[..., Tensor]:
    """All inputs one after the other."""

    def run(*inputs: Tensor) -> Tensor:
        return torch.cat([program(one, kept).flatten() for one in inputs])

    return run


def ready(one: Measured, inputs: Iterable[Tensor], schedule: str) -> fxsolve.Compiled:
    """The program compiled, and called until the numbers of steps are known."""
    fast = fxsolve.compile(one.program, schedule=schedule, mode="max-autotune")
    with torch.no_grad():
        for given in inputs:
            fast(given, one.kept)
    return fast


def steps_of(seen: Iterable[Solution]) -> list[str]:
    """Of each loop how it was solved, and in how many steps."""
    counts: dict[str, list[int]] = defaultdict(list)
    for one in seen:
        counts[f"{one.name}: {one.method}"].append(one.sweeps)
    return [f"{how} {min(found)} to {max(found)}" for how, found in counts.items()]


def case(name: str, one: Measured, repeats: int) -> Case:
    """The program on four inputs, of which each takes another number of steps."""
    torch.manual_seed(SEED)
    inputs = tuple(one.draw(k) for k in range(4))
    warm = (*inputs, *(one.draw(k % 4) for k in range(WARM)), *inputs)
    start = time.perf_counter()
    fast = ready(one, warm, "auto")
    seconds = time.perf_counter() - start
    in_order = ready(one, warm, "gs")
    program, chosen = over(one.program, one.kept), over(fast, one.kept)
    rivals = {"eager": program, "fxsolve": chosen, "steps in order": over(in_order, one.kept)}
    ms = interleaved(rivals, inputs, repeats)
    wanted, found = timed(program, inputs)[0], timed(chosen, inputs)[0]
    report = fast.report()
    return Case(
        name=name,
        ms=ms,
        baseline="eager",
        prediction=one.prediction,
        schedule=str(fast.schedule),
        solved=steps_of(solutions(chosen, inputs)),
        equal=torch.equal(wanted, found),
        difference=(wanted - found).abs().max().item(),
        first_call_s=seconds,
        stages_s=dict(report.seconds),
    )


def main() -> None:
    chosen = options("stopping", __doc__ or "")
    torch.manual_seed(SEED)
    programs = measured()
    if chosen.quick:
        programs = dict(list(programs.items())[:1])
    save(chosen, "stopping", [case(name, one, chosen.repeats) for name, one in programs.items()])


if __name__ == "__main__":
    main()
