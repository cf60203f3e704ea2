"""A window of steps of a loop whose earlier steps are solved, and one batched sweep over it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fxsolve.solvers.loop import Buffer, Loop, LoopLag

Place = tuple[int, int] | Tensor
Outputs = tuple[Tensor, ...]
Unknowns = Mapping[int, Tensor]


@dataclass(frozen=True)
class Given:
    """A loop and what its steps receive from outside: `per_step` covers all steps."""

    loop: Loop
    per_step: tuple[Any, ...]
    shared: tuple[Any, ...]


@dataclass(frozen=True)
class Frontier:
    """What the steps from `step` on read of those before.

    `heads[j]` holds the last `distance` values that lag j reads, oldest first, as (distance, ...); `buffers` have
    the entries of all earlier steps written and no others.
    """

    step: int
    heads: tuple[Tensor, ...]
    buffers: tuple[Tensor, ...]


@dataclass(frozen=True)
class Window:
    """Steps start <= t < stop behind a frontier: `places` are where the buffers take their entries."""

    given: Given
    stop: int
    frontier: Frontier
    places: tuple[Place, ...]
    per_step: tuple[Any, ...]

    @property
    def loop(self) -> Loop:
        return self.given.loop

    @property
    def start(self) -> int:
        return self.frontier.step

    @property
    def length(self) -> int:
        return self.stop - self.start


def open_window(given: Given, frontier: Frontier, stop: int) -> Window:
    """The window from the frontier to `stop`."""
    start = frontier.step
    buffers = zip(given.loop.buffer_specs, frontier.buffers, strict=True)
    places = tuple(_place(spec.index[start:stop], buffer.device) for spec, buffer in buffers)
    per_step = tuple(item[start:stop] for item in given.per_step)
    return Window(given, stop, frontier, places, per_step)


def first_guess(window: Window) -> dict[int, Tensor]:
    """A start for every unknown, by output number: the buffer's own entries, or else the newest solved value.

    With its own entries a buffer is what the first step of the window reads in a sequential run.
    """
    guess: dict[int, Tensor] = {}
    for lag, head in _lagged(window):
        guess[lag.output] = head[-1:].expand(window.length, *head.shape[1:])
    for spec, buffer, place in _buffered(window):
        guess[spec.output] = _entries(buffer, spec, place)
    return guess


def depth(window: Window) -> int:
    """The longest chain of steps in the window: ceil(length / shortest lag), and 1 if no step reads another."""
    return -(-window.length // shortest_lag(window))


def shortest_lag(window: Window) -> int:
    """How far back the nearest step lies that a step may read; the whole window if none does."""
    distances = [lag.distance for lag in window.loop.lags] + [1 for _ in window.loop.buffer_specs]
    return min(distances, default=window.length)


def sweep(window: Window, guess: Unknowns) -> Outputs:
    """Evaluate all steps of the window at once, reading `guess` where they read one another."""
    return window.loop.body(*reads(window, guess))


def reads(window: Window, guess: Unknowns) -> tuple[Any, ...]:
    """What the body takes when the steps of the window read `guess` where they read one another."""
    lagged = [_shift(head, guess[lag.output]) for lag, head in _lagged(window)]
    return (*lagged, *_fill(window, guess), *window.per_step, *window.given.shared)


def unknowns(loop: Loop, outputs: Outputs) -> Unknowns:
    """The outputs that steps read from one another, by number."""
    numbers = [lag.output for lag in loop.lags] + [buffer.output for buffer in loop.buffer_specs]
    return {number: outputs[number] for number in numbers}


def advance(window: Window, outputs: Unknowns) -> Frontier:
    """The frontier behind the window, from the solved values of its unknowns."""
    heads = tuple(_newest(head, outputs[lag.output]) for lag, head in _lagged(window))
    return Frontier(window.stop, heads, _fill(window, outputs))


def _lagged(window: Window) -> Iterator[tuple[LoopLag, Tensor]]:
    return zip(window.loop.lags, window.frontier.heads, strict=True)


def _buffered(window: Window) -> Iterator[tuple[Buffer, Tensor, Place]]:
    return zip(window.loop.buffer_specs, window.frontier.buffers, window.places, strict=True)


def _shift(head: Tensor, values: Tensor) -> Tensor:
    distance, length = len(head), len(values)
    if length <= distance:
        return head[:length]
    return torch.cat((head, values[: length - distance]))


def _newest(head: Tensor, values: Tensor) -> Tensor:
    distance = len(head)
    if len(values) < distance:
        return torch.cat((head, values))[-distance:]
    return values[len(values) - distance :]


def _fill(window: Window, values: Unknowns) -> tuple[Tensor, ...]:
    """The buffers with the window's entries written; the originals stay as they are."""
    return tuple(_write(buffer, spec, place, values[spec.output]) for spec, buffer, place in _buffered(window))


def _place(index: tuple[int, ...], device: torch.device) -> Place:
    first, length = index[0], len(index)
    if index == tuple(range(first, first + length)):
        return first, first + length
    return torch.tensor(index, device=device)


def _entries(buffer: Tensor, spec: Buffer, place: Place) -> Tensor:
    if isinstance(place, Tensor):
        return buffer.index_select(spec.dim, place).movedim(spec.dim, 0)
    return buffer.narrow(spec.dim, place[0], place[1] - place[0]).movedim(spec.dim, 0)


def _write(buffer: Tensor, spec: Buffer, place: Place, values: Tensor) -> Tensor:
    entries = values.movedim(0, spec.dim)
    if isinstance(place, Tensor):
        return buffer.index_copy(spec.dim, place, entries)
    return torch.slice_scatter(buffer, entries, spec.dim, place[0], place[1])
