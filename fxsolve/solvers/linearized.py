"""The batched body of a loop together with its Jacobians, for the window lengths that its schedule uses."""

from torch import Tensor, nn


class Linearized(nn.Module):
    """(outputs..., J) = linear(reads), stacked (n, ...): `n<length>` for the lengths traced.

    The reads come in the order of `Loop.body`; positions in `whole` are not stacked (buffers and shared values).
    """

    def __init__(self, windows: dict[int, nn.Module], whole: tuple[int, ...]) -> None:
        super().__init__()
        self.windows = nn.ModuleDict({f"n{length}": module for length, module in windows.items()})
        self.whole = whole

    def forward(self, *reads: Tensor) -> tuple[Tensor, ...]:
        length = next(len(read) for position, read in enumerate(reads) if position not in self.whole)
        return self.windows[f"n{length}"](*reads)
