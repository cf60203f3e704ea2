"""What each sweep changed in each step, for those who ask: a picture of how a loop was solved."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fxsolve.solvers.bitwise import changed_steps, unchanged_steps
from fxsolve.solvers.context import During
from fxsolve.solvers.norms import has_size, largest_of_steps

MOST_STEPS = 48  # stretches of steps that are told apart
MOST_SWEEPS = 64
MOST_LOOPS = 16

Pairs = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class SweepTrace:
    """Sweep `number`, the first is 1, of steps `start` to `stop`; those of them before `front` kept every bit.

    `changes` are max |s_new - s_old| in stretches of about equal length: 0.0 where no bit changed, 1.0 where an integer
    did, infinite where a value is not finite.
    """

    number: int
    start: int
    stop: int
    front: int
    changes: tuple[float, ...]


@dataclass(frozen=True)
class Trace:
    """The first solve of a loop of `length` steps (of a method over chunks, its chunks), some of its `count` sweeps."""

    loop: str
    length: int
    count: int
    sweeps: tuple[SweepTrace, ...]


@dataclass
class TraceRows:
    """Rows of one solve, evenly spaced: where there are too many, every second one goes."""

    length: int
    count: int = 0
    stride: int = 1
    rows: list[SweepTrace] = field(default_factory=list)

    def add(self, start: int, stop: int, pairs: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Note a sweep: (new, old) stacks of the values that steps read from one another."""
        self.count += 1
        if (self.count - 1) % self.stride:
            return
        front, changes = _changes([pair for pair in pairs if pair[0].numel() > 0], stop - start)
        self.rows.append(SweepTrace(self.count, start, stop, start + front, changes))
        if len(self.rows) > MOST_SWEEPS:
            self.stride *= 2
            self.rows = [row for row in self.rows if (row.number - 1) % self.stride == 0]


_traced: ContextVar[dict[str, TraceRows] | None] = ContextVar("fxsolve_traces", default=None)


@contextmanager
def traces() -> Iterator[list[Trace]]:
    """Collect, when the block ends, a `Trace` of the first solve of every loop that is swept in it."""
    found: list[Trace] = []
    rows: dict[str, TraceRows] = {}
    with During(_traced, rows):
        yield found
    found += [Trace(name, one.length, one.count, tuple(one.rows)) for name, one in rows.items()]


def open_trace(loop: str, length: int, start: int) -> TraceRows | None:
    """Where the sweeps of the window from `start` on are noted, if somebody asks, and this is the first solve."""
    known = _traced.get()
    if known is None or (loop in known and start == 0) or (loop not in known and len(known) == MOST_LOOPS):
        return None
    return known.setdefault(loop, TraceRows(length))


def _changes(pairs: Pairs, length: int) -> tuple[int, tuple[float, ...]]:
    """How many leading steps kept every bit, and the largest change in each stretch."""
    changed = changed_steps(pairs, length)
    stretches = min(MOST_STEPS, length)
    if changed is None:
        return length, (0.0,) * stretches
    sizes = torch.stack([_size(new, old) for new, old in pairs]).amax(0)
    # A step that changed -0.0 into 0.0 alone has no size, but its bits are others.
    sizes = torch.where(changed.to(sizes.device), sizes.clamp(min=math.ulp(0.0)), 0.0)
    parts = sizes.cpu().tensor_split(stretches)
    return unchanged_steps(pairs, length), tuple(float(f"{float(part.amax()):.2g}") for part in parts)


def _size(new: Tensor, old: Tensor) -> Tensor:
    if not has_size(new):
        return (new != old).reshape(len(new), -1).any(1).double()
    return largest_of_steps(new - old).nan_to_num(math.inf, math.inf, math.inf)
