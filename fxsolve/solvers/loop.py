"""The run-time form of a rolled loop: one body and how its steps are wired."""

from dataclasses import dataclass

from torch import nn

from fxsolve.errors import FxSolveError


@dataclass(frozen=True)
class LoopLag:
    """The body reads its own output number `output`, `distance` steps back: s_{t-distance}."""

    output: int
    distance: int


@dataclass(frozen=True)
class Buffer:
    """The body reads a buffer whose entry `index[t]` along `dim` is written by output number `output` at step t.

    Step t sees the entries written before it; a Jacobi sweep sees the whole current guess, which is the same
    only if output t does not depend on entries `index[t:]` (the plan proves this or forbids Jacobi).
    """

    output: int
    dim: int
    index: tuple[int, ...]


class Loop(nn.Module):
    """T equal steps (o_0, ..., o_m)_t = body(lagged..., buffers..., per_step[t]..., shared...).

    The placeholders of `body` come in exactly that order: one per `lags` entry, one per `buffers` entry, then the
    per-step inputs, then the shared ones. `stacked` and `last` name the outputs that the program uses afterwards:
    for all steps, as (T, ...), or for the last step alone. A step may hold a `chunk` of steps of another loop, which is
    the first dimension of each output then.
    """

    def __init__(
        self,
        body: nn.Module,
        length: int,
        lags: tuple[LoopLag, ...] = (),
        buffers: tuple[Buffer, ...] = (),
        stacked: tuple[int, ...] = (),
        last: tuple[int, ...] = (),
        name: str = "loop",
        chunk: int = 1,
    ) -> None:
        super().__init__()
        if length < 1:
            raise FxSolveError(f"{name} has {length} steps; a loop needs at least one")
        self.body = body
        self.length = length
        self.lags = lags
        # `buffers` is a method of every module.
        self.buffer_specs = buffers
        self.stacked = stacked
        self.last = last
        self.name = name
        self.chunk = chunk

    def extra_repr(self) -> str:
        return f"{self.name}: length={self.length}, lags={self.lags}, buffers={self.buffer_specs}"
