"""The solver that a part of a schedule means, and what it takes beside the loop's own inputs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from fxsolve.lower.arguments import SolverArguments
from fxsolve.solvers.layout import Layout
from fxsolve.solvers.loop import Loop
from fxsolve.solvers.samples import SampleLoops


@dataclass(frozen=True)
class SolverCall:
    """solver(loop, [linear, layout | samples], initial, buffers, per_step, shared, *options)."""

    solver: Callable[..., Any]
    loop: Loop
    options: tuple[Any, ...] = ()
    linear: nn.Module | None = None
    layout: Layout | None = None
    samples: SampleLoops | None = None

    def solve(self, arguments: SolverArguments) -> Any:
        """What the solver returns."""
        extras = [extra for extra in (self.linear, self.layout, self.samples) if extra is not None]
        return self.solver(self.loop, *extras, *arguments.flat(), *self.options)
