"""The same loop for fewer samples: which dimension of each value is that of the samples, and how some are taken out."""

import math
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from fxsolve.solvers.loop import Loop
from fxsolve.solvers.norms import has_size, step_before
from fxsolve.solvers.stop import Stop
from fxsolve.solvers.window import Frontier, Given, Unknowns, Window, open_window

Dims = tuple[int | None, ...]


SMALLEST = 2  # samples in a batch: one alone would broadcast where it should not


class SampleLoops(nn.Module):
    """The `loops` over fewer samples of a loop whose samples never mix, by their number.

    Where every sample lies: `reads` has a dimension for each read, in the order of `Loop.body`, None for what all
    samples share; `outputs` has one for each output that steps read from one another, by number. Stacks of steps count
    their first dimension.
    """

    def __init__(self, loops: Mapping[int, Loop], reads: Dims, outputs: Mapping[int, int]) -> None:
        super().__init__()
        self.loops = nn.ModuleDict({f"b{samples}": loop for samples, loop in loops.items()})
        self.sizes = tuple(sorted(loops, reverse=True))
        self.reads = reads
        self.outputs = dict(outputs)

    def smallest(self, samples: int) -> int | None:
        """The smallest size that holds so many samples, if there is one."""
        return min((size for size in self.sizes if size >= samples), default=None)

    def take(self, window: Window, samples: Tensor) -> Window:
        """The window for some samples only, by their places, (b,); there is a loop over as many."""
        given, frontier = window.given, window.frontier
        dims = iter(self.reads)
        heads = _taken(frontier.heads, dims, samples)
        buffers = _taken(frontier.buffers, dims, samples)
        per_step, shared = _taken(given.per_step, dims, samples), _taken(given.shared, dims, samples)
        loop: Any = self.loops[f"b{len(samples)}"]
        return open_window(Given(loop, per_step, shared), Frontier(frontier.step, heads, buffers), window.stop)

    def take_values(self, values: Unknowns, samples: Tensor) -> Unknowns:
        """Some samples of an iterate."""
        return {number: value.index_select(self.outputs[number], samples) for number, value in values.items()}

    def put_values(self, values: Unknowns, some: Unknowns, samples: Tensor, first: int) -> Unknowns:
        """The iterate with `some` samples put in place, from step number `first` on."""
        merged = {number: value.clone() for number, value in values.items()}
        for number, value in merged.items():
            value[first:].index_copy_(self.outputs[number], samples, some[number][first:])
        return merged

    def extra_repr(self) -> str:
        return f"reads={self.reads}, outputs={self.outputs}"


def _taken(values: tuple[Any, ...], dims: Iterator[int | None], samples: Tensor) -> tuple[Any, ...]:
    """Some samples of each value, by the next of the `dims`; what all samples share as it is."""
    pairs = zip(values, islice(dims, len(values)), strict=True)
    return tuple(value if dim is None else value.index_select(dim, samples) for value, dim in pairs)


def changed_samples(new: Unknowns, old: Unknowns, dims: Mapping[int, int], stop: Stop) -> tuple[Tensor, Tensor]:
    """max |s_new - s_old| of each sample, and how many times larger its changes could be within `stop`, (B,) each.

    What is discrete has changed by 1, or not at all.
    """
    pairs = [_slack(value, old[number], dims[number], stop) for number, value in new.items()]
    changes, slacks = zip(*pairs, strict=True)
    return torch.stack(changes).amax(0), torch.stack(slacks).amin(0)


def _slack(new: Tensor, old: Tensor, dim: int, stop: Stop) -> tuple[Tensor, Tensor]:
    others = [k for k in range(1, new.dim()) if k != dim]
    if not has_size(new):
        changed = _over(new != old, others).double().amax(0)
        return changed, torch.where(changed > 0, 0.0, math.inf)
    changes, sizes = _over((new - old).abs(), others).double(), _over(new.abs(), others).double()
    slacks = (stop.atol + stop.rtol * torch.maximum(sizes, step_before(sizes))) / changes
    return changes.amax(0), torch.where(changes == 0, math.inf, slacks).amin(0)


def _over(values: Tensor, dims: list[int]) -> Tensor:
    return values.amax(dims) if dims else values
