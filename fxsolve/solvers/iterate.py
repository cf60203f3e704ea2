"""The one loop of all iterative methods: init, step, terminate; what it leaves unsolved is finished in order."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fxsolve.solvers.bitwise import changed_steps, unchanged_steps
from fxsolve.solvers.in_order import run_in_order
from fxsolve.solvers.norms import Change, measure
from fxsolve.solvers.solution import Status
from fxsolve.solvers.stop import Stop, tighten
from fxsolve.solvers.trace import TraceRows, open_trace
from fxsolve.solvers.window import Outputs, Unknowns, Window, advance, depth, open_window, shortest_lag, sweep, unknowns

Verdict = Literal["exact", "converged", "unsolved", "spoiled"]


@dataclass(frozen=True)
class Slid:
    """How far a sliding window has come: the outputs `before` it, and its first `settled` steps, which are solved.

    `changes` are those of the last sweep to the leading steps of the window, (m,); the first `proved` steps of the
    loop are exact.
    """

    before: tuple[Outputs, ...]
    changes: Tensor | None
    settled: int
    proved: int


@dataclass(frozen=True)
class Sampled:
    """What is known of the samples of a batch: how many had not settled, `awake`, at each look, and their last changes.

    `partial` of the sweeps were of some samples alone.
    """

    awake: tuple[int, ...] = ()
    changes: Tensor | None = None
    partial: int = 0


@dataclass(frozen=True)
class State:
    """outputs = F(point): all steps of a window evaluated at `point`.

    `sizes` are those of the changes of all sweeps so far, the last one in full as `change`. A method may leave on the
    device whether all values so far were `finite`. `anchor` are the values of an earlier sweep, and `floor`, where the
    changes since then were rounding that no sweep will end, is the last one as it meets the test itself.
    """

    window: Window
    point: Unknowns
    outputs: Outputs
    change: Change
    sizes: tuple[float, ...]
    finite: Tensor | None = None
    slid: Slid | None = None
    anchor: Unknowns | None = None
    floor: Change | None = None
    sampled: Sampled = Sampled()

    @property
    def values(self) -> Unknowns:
        """The newest iterate, F(point)."""
        return unknowns(self.window.loop, self.outputs)


class Method(ABC):
    """How the next iterate comes from the last one: S <- F(S + solve(A, F(S) - S)).

    Every step ends in a sweep F, so one more leading step is exact after each, whatever A is.
    """

    @abstractmethod
    def init(self, window: Window) -> State:
        """The state after the first sweep."""

    @abstractmethod
    def step(self, state: State) -> State:
        """The state one sweep later."""

    @abstractmethod
    def terminate(self, state: State) -> Verdict | None:
        """How the iteration ends here, or None where it goes on.

        "unsolved" keeps the exact prefix, "spoiled" trusts no step: a value that is not finite reaches back where a
        step multiplies those behind it by 0.
        """


@dataclass(frozen=True)
class Solved:
    """The outputs of one window as (length, ...) stacks, and how they came about; `final` leading steps are exact."""

    outputs: Outputs
    sweeps: int
    status: Status
    change: float
    final: int


def iterate(method: Method, window: Window) -> Solved:
    """Solve one window by `method`, or in order behind the exact prefix that `method` arrived at."""
    state, seen = method.init(window), open_trace(window.loop.name, window.loop.length, window.start)
    _note(seen, state)
    while (verdict := method.terminate(state)) is None:
        state = method.step(state)
        _note(seen, state)
    if verdict == "spoiled":
        return finish(state, window, 0)
    if verdict == "unsolved":
        return finish(state, window, _exact_prefix(state))
    count = len(state.sizes)
    if state.slid is not None:
        outputs = _join([*state.slid.before, state.outputs])
        return Solved(outputs, count, verdict, state.change.size, state.slid.proved - window.start)
    final = window.length if verdict == "exact" else count - state.sampled.partial
    return Solved(state.outputs, count, verdict, state.change.size, final)


def _exact_prefix(state: State) -> int:
    """The leading steps that the sweep left unchanged; none where they read buffers with entries that are not finite.

    A step multiplies what is behind it in a buffer by 0, and 0 times infinity is NaN, sweep after sweep.
    """
    in_buffers = (state.point[buffer.output] for buffer in state.window.loop.buffer_specs)
    if not all(bool(values.isfinite().all()) for values in in_buffers):
        return 0
    return unchanged_steps(pairs_of(state.values, state.point), state.window.length)


def _note(seen: TraceRows | None, state: State) -> None:
    if seen is not None:
        seen.add(state.window.start, state.window.stop, pairs_of(state.values, state.point))


def evaluate(window: Window, point: Unknowns, stop: Stop, sizes: tuple[float, ...], origin: Unknowns | None) -> State:
    """Sweep the window at `point` and measure the change: F(point) - point, and point - origin where one is given."""
    outputs = sweep(window, point)
    pairs = [*pairs_of(unknowns(window.loop, outputs), point), *(pairs_of(point, origin) if origin else ())]
    change = measure(_by_steps(pairs, window.loop.chunk), tighten(stop, sizes))
    return State(window, point, outputs, change, (*sizes, change.size))


def judge(state: State, stop: Stop) -> Verdict | None:
    """The rule that all methods share; as many sweeps of everything as the chain of steps is long are exact."""
    count, limit = len(state.sizes), depth(state.window)
    # The start may be non-finite itself (a buffer that was never filled), so the first change proves nothing.
    finite = state.change.finite or count == 1
    if state.change.exact or (finite and count - state.sampled.partial == limit):
        return "exact"
    if state.change.converged:
        return "converged"
    if state.floor is not None:
        return "converged" if state.floor.converged else "unsolved"
    allowed = limit if stop.max_sweeps is None else stop.max_sweeps
    return "unsolved" if not finite or count >= allowed else None


def final_steps(state: State) -> Tensor:
    """Which leading steps of F(point) are final, (length,): those that read only what the sweep left unchanged."""
    length, lag = state.window.length, shortest_lag(state.window)
    rows = changed_steps(pairs_of(state.values, state.point), length)
    if rows is None:
        return torch.ones(length, dtype=torch.bool)
    unchanged = rows.cumsum(0) == 0
    return torch.cat((torch.ones_like(unchanged[:lag]), unchanged[:-lag]))[:length]


def finish(state: State, whole: Window, prefix: int) -> Solved:
    """Keep the first `prefix` steps of the window, and run the others, up to the end, one by one."""
    window, slid = state.window, state.slid
    pieces = list(slid.before) if slid else []
    frontier = window.frontier
    if prefix > 0:
        solved = open_window(window.given, frontier, window.start + prefix)
        pieces.append(tuple(output[:prefix] for output in state.outputs))
        frontier = advance(solved, unknowns(window.loop, pieces[-1]))
    steps = whole.stop - frontier.step
    if steps > 0:
        pieces.append(run_in_order(open_window(window.given, frontier, whole.stop)))
    final = whole.stop if slid is None or slid.proved >= window.start else slid.proved
    sweeps = len(state.sizes) + steps
    return Solved(_join(pieces), sweeps, "finished sequentially", state.change.size, final - whole.start)


def _join(pieces: list[Outputs]) -> Outputs:
    return tuple(torch.cat(stacks) for stacks in zip(*pieces, strict=True))


def _by_steps(pairs: Iterable[tuple[Tensor, Tensor]], chunk: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The pairs with each chunk of steps as that many steps."""
    return ((new.flatten(0, 1), old.flatten(0, 1)) if chunk > 1 else (new, old) for new, old in pairs)


def pairs_of(new: Unknowns, old: Unknowns) -> Iterator[tuple[Tensor, Tensor]]:
    """The values of each unknown in two iterates."""
    return ((values, old[number]) for number, values in new.items())
