"""A Jacobi sweep over blocks that are one body on lists that grow: a few calls for all of them.

x_i = g(sum_{j<i} W_ij h_i(x_j)), as in a dense block of a DenseNet. A sweep makes h_i(x_j) for all i and j at once,
with W_ij = 0 for j >= i; the sums over those x_j that are final are kept, so that what a sweep reads becomes less.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ChannelSum:
    """Sums over channels, place by place: (L, O, W) weights by (L, W, ...) features."""

    def __call__(self, before: Tensor, weight: Tensor, features: Tensor) -> Tensor:
        """`before` + the sums, (L, O, R) for features (L, W, ...) with R entries of each channel."""
        flat = features.flatten(2)
        if len(flat) == len(weight):
            return torch.baddbmm(before, weight, flat)
        before = before.expand(len(weight), weight.shape[1], flat.shape[2])
        return torch.addmm(before.flatten(0, 1), weight.flatten(0, 1), flat[0]).view_as(before)

    def shaped(self, sums: Tensor, features: tuple[int, ...], dim: int) -> Tensor:
        """The sums as each block has them: (L, *shape), with the outputs along `dim`."""
        return sums.unflatten(2, features[2:]).movedim(1, 1 + dim)


@dataclass(frozen=True)
class PatchSum:
    """Sums over channels and the entries around each place, as a convolution has them."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]

    def __call__(self, before: Tensor, weight: Tensor, features: Tensor) -> Tensor:
        """`before` + the sums, (L, B, O, *S) for features (L, W, B, *S)."""
        shared = len(features) < len(weight)
        images = features.movedim(2, 0).flatten(1, 2)
        groups = 1 if shared else len(weight)
        rank = len(self.stride)
        made = torch.convolution(
            images, weight.flatten(0, 1), None, self.stride, self.padding, self.dilation, False, (0,) * rank, groups
        )
        return before + made.unflatten(1, weight.shape[:2]).movedim(1, 0)

    def shaped(self, sums: Tensor, features: tuple[int, ...], dim: int) -> Tensor:
        return sums


Sum = ChannelSum | PatchSum


@dataclass(frozen=True)
class Wiring:
    """What `Alike` reads and gives, by the numbers of the values.

    `weights` are stacked once for all sweeps; of `pieces`, which are joined along `dim`, `widths` are the sizes there
    and `piece_levels` the sweeps after which they are final, in ascending order. Of what is prepared, the first
    `operands` go with the features, then two for each of the `sums`, the rest to what comes behind. `stacks` are values
    of which each block reads one. `results[k][i]` is the k-th result of block i, -1 where nobody wants it; `levels` are
    those of the blocks.
    """

    weights: tuple[int, ...]
    pieces: tuple[int, ...]
    widths: tuple[int, ...]
    piece_levels: tuple[int, ...]
    dim: int
    operands: int
    sums: tuple[tuple[Sum, int], ...]
    stacks: tuple[tuple[int, ...], ...]
    results: tuple[tuple[int, ...], ...]
    levels: tuple[int, ...]


@dataclass
class Progress:
    """What is kept between sweeps, of the blocks from number `first` on: the others are final.

    `prepared` are weights, `sums` those over the first `columns` of all features; `totals`, over all of them, and
    `results` are those of the last sweep.
    """

    prepared: list[Tensor]
    sums: list[Tensor]
    totals: list[Tensor] = field(default_factory=list)
    results: list[Tensor] = field(default_factory=list)
    columns: int = 0
    first: int = 0

    def drop_before(self, first: int) -> None:
        """Forget blocks that are final."""
        count = first - self.first
        self.prepared, self.sums, self.results = (
            [one[count:] for one in stacks] for stacks in (self.prepared, self.sums, self.results)
        )
        self.first = first


class Alike(nn.Module):
    """One body for L blocks: `prepare` (weights) -> `before` the sums -> `after` them, for any number of blocks.

    `constants` tell `prepare` where the weights of each block belong among those of the widest.
    """

    def __init__(
        self, prepare: nn.Module, before: nn.Module, after: nn.Module, wiring: Wiring, constants: tuple[Tensor, ...]
    ) -> None:
        super().__init__()
        self.prepare, self.before, self.after = prepare, before, after
        self.wiring, self.constants = wiring, constants

    def extra_repr(self) -> str:
        return f"{len(self.wiring.levels)} blocks at once"

    def start(self, values: Sequence[Tensor]) -> Progress:
        """Before the first sweep: nothing is summed but the biases."""
        wiring = self.wiring
        device = values[wiring.weights[0]].device
        constants = (constant.to(device) for constant in self.constants)
        prepared = self.prepare(*(values[number] for number in wiring.weights), *constants)
        biases = prepared[wiring.operands + 1 : wiring.operands + 2 * len(wiring.sums) : 2]
        return Progress(list(prepared), list(biases))

    def sweep(self, values: Sequence[Tensor], level: int, progress: Progress) -> list[Tensor]:
        """The results of all blocks of `level` or above, (L', ...) each; values below `level` are final."""
        wiring = self.wiring
        progress.drop_before(sum(one < level for one in wiring.levels))
        behind = wiring.operands + 2 * len(wiring.sums)
        stacks = (torch.stack([values[number] for number in row[progress.first :]]) for row in wiring.stacks)
        progress.totals = self._sums(values, level, progress) if wiring.sums else []
        count = len(wiring.levels) - progress.first
        return list(self.after(count, *progress.totals, *stacks, *progress.prepared[behind:]))

    def parts(self, stack: Tensor, first: int) -> list[Tensor]:
        """The results of the blocks from number `first` on, as each of them has it."""
        return list(stack.unbind())

    def _sums(self, values: Sequence[Tensor], level: int, progress: Progress) -> list[Tensor]:
        wiring, start = self.wiring, progress.columns
        joined = torch.cat([values[number].movedim(wiring.dim, 0) for number in self._pieces_from(start)])
        operands = (_columns(one, start) for one in progress.prepared[: wiring.operands])
        features = self.before(joined.unsqueeze(0), *operands)
        widths = zip(wiring.widths, wiring.piece_levels, strict=True)
        done = progress.columns = sum(width for width, final in widths if final < level)
        made: list[Tensor] = []
        for k, (method, number) in enumerate(wiring.sums):
            weight, now = progress.prepared[wiring.operands + 2 * k], features[number]
            old, new = now[:, : done - start], now[:, done - start :]
            if old.shape[1]:
                progress.sums[k] = method(progress.sums[k], weight[:, :, start:done], old)
            total = method(progress.sums[k], weight[:, :, done:], new) if new.shape[1] else progress.sums[k]
            made.append(method.shaped(total, tuple(now.shape), wiring.dim))
        return made

    def _pieces_from(self, start: int) -> list[int]:
        """The pieces whose columns begin at `start` or behind it."""
        begins = accumulate(self.wiring.widths, initial=0)
        return [piece for piece, begin in zip(self.wiring.pieces, begins, strict=False) if begin >= start]


def _columns(operand: Tensor, start: int) -> Tensor:
    """Those of an operand (L, W, ...) from `start` on; one of width 1 is for all of them."""
    return operand if operand.shape[1] == 1 else operand[:, start:]
