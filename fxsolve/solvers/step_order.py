"""The order in which steps are computed: one by one, a level at once, or in a window that slides."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import torch
from torch import Tensor

from fxsolve.solvers.loop import Buffer


class StepOrder(ABC):
    """Runs of steps, one behind the other; in each the program computes all of them."""

    @property
    @abstractmethod
    def together(self) -> int | None:
        """How many steps a program takes at once, along a first dimension; None for one step without it."""

    @property
    @abstractmethod
    def runs(self) -> tuple[range, ...]:
        """The steps of each run."""

    @property
    def later(self) -> range:
        """The runs that may come behind the first."""
        return range(1, len(self.runs))

    @property
    def times(self) -> int:
        """In how many runs, one behind the other, an entry is computed: those in which it may still change."""
        return 1

    @abstractmethod
    def run_of_each(self) -> list[int]:
        """For each step the number of the last run that may change what it writes."""

    def arriving(self, stack: Tensor) -> tuple[Tensor, ...]:
        """What the program takes in each run of what all steps take, (T, ...)."""
        together = self.together or 1
        rows = [[*steps, *[steps[-1]] * (together - len(steps))] for steps in self.runs]
        return stack[torch.tensor(rows, device=stack.device)].unbind(0)


class InTurn(StepOrder):
    """Each step in one run; none reads another of its own run."""

    @abstractmethod
    def write(self, buffer: Tensor, spec: Buffer, run: int, found: Tensor) -> None:
        """Write what the program makes in a run into the entries of its steps."""

    @abstractmethod
    def stacked(self, made: Sequence[Tensor]) -> Tensor:
        """The values of all steps, (T, ...), of those that the program makes in each run."""

    def run_of_each(self) -> list[int]:
        return [number for number, steps in enumerate(self.runs) for _ in steps]


@final
@dataclass(frozen=True)
class OneByOne(InTurn):
    """Each step alone."""

    length: int

    @property
    def together(self) -> None:
        return None

    @property
    def runs(self) -> tuple[range, ...]:
        return tuple(range(t, t + 1) for t in range(self.length))

    def arriving(self, stack: Tensor) -> tuple[Tensor, ...]:
        return stack.unbind(0)

    def write(self, buffer: Tensor, spec: Buffer, run: int, found: Tensor) -> None:
        buffer.select(spec.dim, spec.index[run]).copy_(found)

    def stacked(self, made: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(made))


@final
@dataclass(frozen=True)
class ByLevel(InTurn):
    """The steps between two `bounds` at once; where they are fewer than elsewhere, the last one several times."""

    bounds: tuple[int, ...]

    @property
    def together(self) -> int:
        return max(map(len, self.runs))

    @property
    def runs(self) -> tuple[range, ...]:
        return tuple(range(start, stop) for start, stop in pairwise(self.bounds))

    def write(self, buffer: Tensor, spec: Buffer, run: int, found: Tensor) -> None:
        index = spec.index[self.bounds[run] : self.bounds[run + 1]]
        entries = found[: len(index)].movedim(0, spec.dim)
        if index == tuple(range(index[0], index[0] + len(index))):
            buffer.narrow(spec.dim, index[0], len(index)).copy_(entries)
        else:
            buffer.index_copy_(spec.dim, torch.tensor(index, device=buffer.device), entries)

    def stacked(self, made: Sequence[Tensor]) -> Tensor:
        return torch.cat([one[: len(steps)] for one, steps in zip(made, self.runs, strict=True)])


@final
@dataclass(frozen=True)
class Lookahead(StepOrder):
    """Run t is step t and the `width` - 1 steps before it, which it computes from guesses of one another.

    A run behind run t is one of the next `width`: it begins behind the steps that are final, of which each run adds one
    or more. So what an entry depends on is final in the last of the `width` runs from that of its step on, or in one
    that is left out.
    """

    length: int
    width: int

    @property
    def together(self) -> int:
        return self.width

    @property
    def runs(self) -> tuple[range, ...]:
        firsts = (max(t + 1 - self.width, 0) for t in range(self.length))
        return tuple(range(first, first + self.width) for first in firsts)

    @property
    def later(self) -> range:
        return range(max(self.width - 1, 1), self.length)

    @property
    def times(self) -> int:
        return self.width

    def run_of_each(self) -> list[int]:
        return list(range(self.length))
