"""The PixelCNN++ of the example with caches of rows and pixels (Ramachandran et al. 2017, Fast Generation).

The stream u of a row is computed when the row begins, the stream ul of a pixel when its turn comes; a level of half the
resolution takes part in every second row, and every second pixel of it. A place is (row,) in u and (row, column) in ul.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from comparing import Program
from pixelcnn import Enlarged, Gated, PixelCNN, Shifted, concat_elu
from pixelcnn_sampling import draw

Place = tuple[int, ...]
LEVELS = 3


class Convolution:
    """A shifted convolution of a padded map (B, C, H + 1, W + left + right) that fills up: rows, or pixels of 2 x 2."""

    def __init__(self, shifted: Shifted, samples: int, side: int, is_by_row: bool) -> None:
        conv: nn.Conv2d = shifted.conv  # pyright: ignore[reportAssignmentType]
        self.left, right, self.above, _ = shifted.around
        self.weight, self.bias, self.stride = conv.weight.detach(), conv.bias, conv.stride[0]
        self.is_by_row, self.side = is_by_row, side
        self.map = torch.zeros(samples, self.weight.shape[1], side + self.above, side + self.left + right)

    def write(self, place: Place, x: Tensor) -> None:
        """Fill in a row (B, C, W) or a pixel (B, C) of what is convolved."""
        columns = slice(self.left, self.left + self.side) if self.is_by_row else place[1] + self.left
        self.map[:, :, place[0] + self.above, columns] = x

    def at(self, place: Place) -> Tensor:
        """The row or the pixel of the result."""
        first = [self.stride * one for one in place]
        rows = self.map[:, :, first[0] : first[0] + self.weight.shape[2]]
        if self.is_by_row:
            return F.conv2d(rows, self.weight, self.bias, (1, self.stride))[:, :, 0]
        patch = rows[:, :, :, first[1] : first[1] + self.weight.shape[3]]
        return F.linear(patch.flatten(1), self.weight.flatten(1), self.bias)


class Enlargement:
    """A transposed convolution: each row gives two rows, each pixel four, which wait for their turn."""

    def __init__(self, enlarged: Enlarged, samples: int, side: int, is_by_row: bool) -> None:
        conv: nn.ConvTranspose2d = enlarged.conv  # pyright: ignore[reportAssignmentType]
        self.weight, self.bias, self.cut = conv.weight.detach(), conv.bias, enlarged.right
        self.is_by_row, self.width = is_by_row, 2 * side
        self.map = torch.zeros(samples, self.weight.shape[1], 2 * side, 2 * side)

    def write(self, place: Place, x: Tensor) -> None:
        if self.is_by_row:
            wide = F.conv_transpose2d(x[:, :, None], self.weight, self.bias, 2, output_padding=(0, 1))
            self.map[:, :, 2 * place[0] : 2 * place[0] + 2] = wide[..., self.cut : self.cut + self.width]
        else:
            row, column = (2 * one for one in place)
            four = (x @ self.weight.flatten(1)).unflatten(1, self.weight.shape[1:])
            self.map[:, :, row : row + 2, column : column + 2] = four + self.bias[:, None, None]  # pyright: ignore

    def at(self, place: Place) -> Tensor:
        return self.map[(slice(None), slice(None), *place)]


class Gate:
    """A gated layer, at one place at a time."""

    def __init__(self, gated: Gated, samples: int, side: int, is_by_row: bool) -> None:
        first, second = gated.first, gated.second
        self.first = Convolution(first, samples, side, is_by_row)  # pyright: ignore[reportArgumentType]
        self.second = Convolution(second, samples, side, is_by_row)  # pyright: ignore[reportArgumentType]
        beside: nn.Conv2d | None = gated.beside  # pyright: ignore[reportAssignmentType]
        self.beside = None if beside is None else (beside.weight.detach().flatten(1), beside.bias)

    def step(self, place: Place, x: Tensor, beside: Sequence[Tensor]) -> Tensor:
        self.first.write(place, concat_elu(x))
        h = self.first.at(place)
        if self.beside is not None:
            weight, bias = self.beside
            other = concat_elu(torch.cat(tuple(beside), dim=1))
            h = h + (F.linear(other, weight, bias) if other.dim() == 2 else F.conv1d(other, weight[..., None], bias))
        self.second.write(place, concat_elu(h))
        a, b = self.second.at(place).chunk(2, dim=1)
        return x + a * torch.sigmoid(b)


Beside = Callable[[str, int, int], tuple[Tensor, ...]]


class Stream:
    """One of the two streams; `down` and `up` hold what its layers gave last, level by level."""

    def __init__(self, model: PixelCNN, name: str, samples: int, side: int) -> None:
        is_by_row, sides = name == "u", [side >> level for level in range(LEVELS)]

        def gates(stages: nn.ModuleList, sides: list[int]) -> list[list[Gate]]:
            pairs = zip(stages, sides, strict=True)
            return [[Gate(getattr(one, name), samples, side, is_by_row) for one in stage] for stage, side in pairs]  # pyright: ignore

        self.gates_down, self.gates_up = gates(model.down, sides), gates(model.up, sides[::-1])[::-1]
        smaller = zip(model.smaller, sides[:-1], strict=True)
        larger = zip(list(model.larger)[::-1], sides[1:], strict=True)
        self.smaller = [Convolution(getattr(one, name), samples, side, is_by_row) for one, side in smaller]
        self.larger = [Enlargement(getattr(one, name), samples, side, is_by_row) for one, side in larger]
        self.down: list[list[Tensor]] = [[] for _ in range(LEVELS)]
        self.up: list[list[Tensor]] = [[] for _ in range(LEVELS)]

    def step(self, places: list[Place], x: Tensor, beside: Beside) -> Tensor:
        """The stream after the last layer, at the first of `places`: those of all levels whose turn it is."""
        for level, place in enumerate(places):
            self.down[level] = [x if level == 0 else self.smaller[level - 1].at(place)]
            for number, gate in enumerate(self.gates_down[level]):
                self.down[level].append(gate.step(place, self.down[level][-1], beside("down", level, number)))
            if level < LEVELS - 1:
                self.smaller[level].write(place, self.down[level][-1])
        for level, place in reversed(list(enumerate(places))):
            seen = list(self.down[level])
            x = seen.pop() if level == LEVELS - 1 else self.larger[level].at(place)
            self.up[level] = []
            for number, gate in enumerate(self.gates_up[level]):
                x = gate.step(place, x, (*beside("up", level, number), seen.pop()))
                self.up[level].append(x)
            if level > 0:
                self.larger[level - 1].write(place, x)
        return x


def sampler(model: PixelCNN, samples: int, channels: int, side: int) -> Program:
    """As `pixelcnn_sampling.sampler`."""

    def sample() -> Tensor:
        with torch.no_grad():
            return _Sampling(model, samples, channels, side).run()

    return sample


class _Sampling:
    """The caches of one call."""

    def __init__(self, model: PixelCNN, samples: int, channels: int, side: int) -> None:
        self.channels, self.side = channels, side
        self.u, self.ul = (Stream(model, name, samples, side) for name in ("u", "ul"))
        by_row = {"samples": samples, "side": side, "is_by_row": True}
        self.above, self.row_above = Convolution(model.above, **by_row), Convolution(model.row_above, **by_row)
        self.left = Convolution(model.left, samples, side, is_by_row=False)
        last: nn.Conv2d = model.last  # pyright: ignore[reportAssignmentType]
        self.last = last.weight.detach().flatten(1), last.bias
        self.x = torch.ones(samples, channels + 1, side, side)  # the last channel tells pixels from the padding
        self.filters = last.weight.shape[1]

    def run(self) -> Tensor:
        nothing = self.x.new_zeros(len(self.x), self.filters, self.side)
        for i in range(self.side):
            u = self.above.at((i - 1,)) if i > 0 else nothing
            row = self.row_above.at((i - 1,)) if i > 0 else nothing
            self.u.step([(i >> level,) for level in _due(i)], u, lambda *_: ())
            for j in range(self.side):
                self._pixel(i, j, row[:, :, j])
            for one in (self.above, self.row_above):
                one.write((i,), self.x[:, :, i])
        return self.x[:, : self.channels]

    def _pixel(self, i: int, j: int, x: Tensor) -> None:
        def beside(way: str, level: int, number: int) -> tuple[Tensor, ...]:
            rows = getattr(self.u, way)[level]
            return (rows[number + (way == "down")][:, :, j >> level],)

        if j > 0:
            x = x + self.left.at((i, j - 1))
        ul = self.ul.step([(i >> level, j >> level) for level in _due(i | j)], x, beside)
        self.x[:, : self.channels, i, j] = draw(F.linear(F.elu(ul), *self.last), self.channels)
        self.left.write((i, j), self.x[:, :, i, j])


def _due(number: int) -> range:
    """The levels whose turn it is in row, or at pixel, `number`."""
    return range(next((level for level in range(1, LEVELS) if number % (1 << level)), LEVELS))
