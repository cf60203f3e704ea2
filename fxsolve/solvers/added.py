"""A Jacobi sweep over blocks that are one body on sums of parts of what others give: a few calls for all of them.

d_i = f_i(sum_j d_j[a_i:b_i]), as in the backward pass of a dense block: d_j is the gradient of all that layer j reads,
and the part [a_i, b_i) of it belongs to layer i. With zeros for what a layer does not read, the sums of all layers lie
side by side in one sum over j.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Segment:
    """The range of a value along the dimension of the parts, of which all values take the same entries."""

    start: int
    size: int

    def of(self, value: Tensor, dim: int) -> Tensor:
        """That range of a value that has all entries."""
        return value.narrow(dim, self.start, self.size)


@dataclass(frozen=True)
class AddedWiring:
    """What `AlikeAdded` reads and gives, by the numbers of the values.

    `weights` are stacked once for all sweeps; `others` are values that other blocks give, with their places among the
    `size` entries along `dim`. Of block i, `parts[i]` is the place of the sum that it reads; its only result, of the
    number `results[0][i]`, has the place `places[i]` among those of the stack of all, which is at `own`. `levels` are
    those of the blocks.
    """

    weights: tuple[int, ...]
    others: tuple[tuple[int, Segment], ...]
    parts: tuple[Segment, ...]
    places: tuple[Segment, ...]
    own: Segment
    size: int
    dim: int
    results: tuple[tuple[int, ...], ...]
    levels: tuple[int, ...]


@dataclass
class AddedProgress:
    """What is kept between sweeps, of the blocks from number `first` on: the others are final, `final` is their sum.

    `prepared` are weights, `results` those of the last sweep, `totals` the sums that it read.
    """

    prepared: list[Tensor]
    results: list[Tensor]
    final: Tensor
    totals: list[Tensor] = field(default_factory=list)
    first: int = 0

    def drop_before(self, first: int) -> None:
        """Add up blocks that are final, and forget them."""
        count = first - self.first
        if count:
            self.final = self.final + self.results[0][:count].sum(0)
            self.prepared, self.results = ([one[count:] for one in stacks] for stacks in (self.prepared, self.results))
        self.first = first


class AlikeAdded(nn.Module):
    """One body for L blocks: `prepare` (weights) -> `body` (their number, sums, weights), for any number of blocks.

    Results are zero where a block has none of the entries of the widest; `constants` may tell `prepare` where that is.
    """

    def __init__(
        self, prepare: nn.Module, body: nn.Module, wiring: AddedWiring, constants: tuple[Tensor, ...] = ()
    ) -> None:
        super().__init__()
        self.prepare, self.body, self.wiring, self.constants = prepare, body, wiring, constants

    def extra_repr(self) -> str:
        return f"{len(self.wiring.levels)} blocks at once"

    def start(self, values: Sequence[Tensor]) -> AddedProgress:
        """Before the first sweep all results are zeros."""
        wiring, like = self.wiring, values[self.wiring.results[0][0]]
        shape = list(like.shape)
        shape[wiring.dim] = wiring.own.size
        zeros = like.new_zeros(shape)
        weights = (values[number] for number in wiring.weights)
        prepared = self.prepare(*weights, *(constant.to(like.device) for constant in self.constants))
        return AddedProgress(list(prepared), [zeros.expand(len(wiring.places), *shape)], zeros)

    def sweep(self, values: Sequence[Tensor], level: int, progress: AddedProgress) -> list[Tensor]:
        """The results of all blocks of `level` or above, (L', ...); values below `level` are final."""
        wiring = self.wiring
        progress.drop_before(sum(one < level for one in wiring.levels))
        total = self._zeros(progress.final)
        wiring.own.of(total, wiring.dim).add_(progress.final).add_(progress.results[0].sum(0))
        for number, place in wiring.others:
            place.of(total, wiring.dim).add_(values[number])
        progress.totals = [total]
        sums = torch.stack([part.of(total, wiring.dim) for part in wiring.parts[progress.first :]])
        return list(self.body(len(sums), sums, *progress.prepared))

    def _zeros(self, like: Tensor) -> Tensor:
        shape = list(like.shape)
        shape[self.wiring.dim] = self.wiring.size
        return like.new_zeros(shape)

    def parts(self, stack: Tensor, first: int) -> list[Tensor]:
        """The results of the blocks from number `first` on, as each of them has it."""
        wiring = self.wiring
        return [place.of(one, wiring.dim) for one, place in zip(stack, wiring.places[first:], strict=True)]
