"""Steps of samplers as graphs, and a store that holds real values."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from fxsolve.ir.spec import Prefix, Repeat
from fxsolve.lower.incremental.final import Structural
from fxsolve.lower.incremental.places import Numbers, Places
from fxsolve.lower.incremental.values import Supply
from fxsolve.plan.structural import constants_of, known_values
from fxsolve.stages import capture, partition


def sampler(program: Callable[..., Any], inputs: tuple[Tensor, ...]) -> tuple[Repeat, Structural]:
    """The loop of a program that reads the buffer that it writes, and what is the same in every run."""
    with torch.no_grad():
        captured = capture(program, *inputs)
    system = partition(captured).system
    (repeat,) = (one for one in system.repeats if any(isinstance(read, Prefix) for read in one.reads))
    return repeat, known_values(system, constants_of(captured))


class RealStore(Supply):
    """Rows are those of the first of the steps; nothing is kept."""

    def row(self, places: Places) -> Tensor:
        return torch.from_numpy(places.table[0])

    def constant(self, numbers: Numbers) -> Tensor:
        return torch.from_numpy(numbers)

    def seen(self, table: Numbers) -> Tensor:
        return torch.from_numpy(table[0])

    def kept(self, node: fx.Node) -> Tensor:
        raise AssertionError(f"{node} is kept")
