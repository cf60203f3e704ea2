"""The equations S = F(S) of all steps of a loop, evaluated wherever its body was made for single windows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from fxsolve.solvers.layout import Layout
from fxsolve.solvers.window import Frontier, Given, Outputs, Unknowns, Window, open_window, reads, unknowns


@dataclass(frozen=True)
class Equations:
    """All steps of a loop as one window, and the batches of them that its body takes, which may overlap.

    `linear` and `layout` are those of `newton` and `scan`, where the method has them.
    """

    given: Given
    start: Frontier
    batches: Sequence[slice]
    linear: nn.Module | None = None
    layout: Layout | None = None

    @property
    def window(self) -> Window:
        """All steps."""
        return open_window(self.given, self.start, self.given.loop.length)

    def images(self, values: Unknowns) -> Unknowns:
        """F at `values`, the stacks (T, ...) of the outputs that steps read, by number."""
        loop = self.given.loop
        images = {number: torch.empty_like(value) for number, value in values.items()}
        for steps, outputs in self._evaluate(loop.body, values):
            for number, new in unknowns(loop, outputs).items():
                images[number][steps] = new
        return images

    def jacobian(self, values: Unknowns) -> Tensor:
        """d s_t / d s_{t-1} at `values`, (T, ...) in the coordinates of the layout, as the linear module gives it."""
        assert self.linear is not None
        return torch.cat([outputs[-1] for _, outputs in self._evaluate(self.linear, values)])

    def _evaluate(self, module: nn.Module, values: Unknowns) -> Iterator[tuple[slice, Outputs]]:
        loop = self.given.loop
        given, lags, first = reads(self.window, values), len(loop.lags), len(loop.lags) + len(loop.buffer_specs)
        stacked = {*range(lags), *range(first, first + len(self.given.per_step))}
        for steps in self.batches:
            yield steps, module(*(read[steps] if k in stacked else read for k, read in enumerate(given)))


def batches_between(bounds: Sequence[int]) -> list[slice]:
    """The steps of each window between `bounds`."""
    return [slice(start, stop) for start, stop in pairwise(bounds)]
