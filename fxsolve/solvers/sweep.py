"""Bodies of loops whose values come as tensors: batched for the window lengths of a schedule, or one step."""

from torch import Tensor, nn


class Sweep(nn.Module):
    """outputs = body(reads), each output (n, ...): `n<length>` for the lengths traced, one step by hand for n = 1.

    The reads come in the order of `Loop.body`. Positions in `whole` are not stacked (buffers and shared values), the
    others are, (n, ...); `tables` are positions whose values the one-step body takes as Python numbers.
    """

    def __init__(
        self, step: nn.Module, windows: dict[int, nn.Module], whole: tuple[int, ...], tables: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.step = step
        self.windows = nn.ModuleDict({f"n{length}": module for length, module in windows.items()})
        self.whole = whole
        self.tables = tables

    def forward(self, *reads: Tensor) -> tuple[Tensor, ...]:
        length = next(len(read) for position, read in enumerate(reads) if position not in self.whole)
        name = f"n{length}"
        if length > 1 or name in self.windows:
            return self.windows[name](*reads)
        rows = [self._row(position, read) for position, read in enumerate(reads)]
        return tuple(output.unsqueeze(0) for output in self.step(*rows))

    def _row(self, position: int, read: Tensor) -> Tensor | int | float:
        if position in self.whole:
            return read
        return read[0].item() if position in self.tables else read[0]


class NumberedStep(nn.Module):
    """One step, of which the reads at the positions `tables` come as 0-d tensors and go in as numbers of Python."""

    def __init__(self, step: nn.Module, tables: tuple[int, ...]) -> None:
        super().__init__()
        self.step = step
        self.tables = tables

    def forward(self, *reads: Tensor) -> tuple[Tensor, ...]:
        return self.step(*(read.item() if k in self.tables else read for k, read in enumerate(reads)))
