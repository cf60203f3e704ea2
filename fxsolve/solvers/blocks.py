"""Jacobi sweeps over blocks that are not alike: every block reads what the blocks gave in the last sweep.

Song et al. 2021 (arXiv 2002.03629), algorithm 1, on the equations of a whole network: x_i <- f_i(u, x_<i) for all i.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from fxsolve.solvers.bound import amplification, disturb, largest_gap
from fxsolve.solvers.certificate import Certificate
from fxsolve.solvers.norms import has_size, measure
from fxsolve.solvers.requests import publish
from fxsolve.solvers.solution import Solution, Status
from fxsolve.solvers.stop import Stop, tighten

_ROUNDINGS = 4
_OUTWEIGHS = 100
Unknown = tuple[tuple[int, ...], torch.dtype]


class Blocks(nn.Module):
    """Equations (x_a, x_b, ...) = body(values...), in an order in which each reads only what stands before it.

    Values are numbered: first those that are given, then what the bodies return, one after the other. `reads` has the
    numbers that each body takes, `rows` the bodies that run in order inside of one equation, `levels` the level of each
    row, `unknowns` shape and type of all values that bodies return, `results` the numbers that are wanted.
    """

    def __init__(
        self,
        name: str,
        bodies: Sequence[nn.Module],
        reads: tuple[tuple[int, ...], ...],
        rows: tuple[tuple[int, ...], ...],
        levels: tuple[int, ...],
        unknowns: tuple[tuple[Unknown, ...], ...],
        results: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.name = name
        self.bodies = nn.ModuleList(bodies)
        self.reads, self.rows, self.levels = reads, rows, levels
        self.unknowns, self.results = unknowns, results

    def extra_repr(self) -> str:
        return f"{self.name}: {len(self.rows)} equations of depth {max(self.levels)}"

    def start(self, given: tuple[Tensor, ...]) -> list[Tensor]:
        """The values before the first sweep: those that are given, and zeros."""
        device = next((value.device for value in given), None)
        zeros = (torch.zeros(shape, dtype=dtype, device=device) for one in self.unknowns for shape, dtype in one)
        return [*given, *zeros]

    def sweep(self, values: list[Tensor], from_level: int = 1) -> list[Tensor]:
        """All rows of a level or a higher one evaluated once at `values`; the other values as they are."""
        fresh = list(values)
        for row, level in zip(self.rows, self.levels, strict=True):
            if level >= from_level:
                for number, value in self._row(row, values):
                    fresh[number] = value
        return fresh

    def in_order(self, values: list[Tensor], from_level: int) -> list[Tensor]:
        """As `sweep`, each row with the newest values of those before it."""
        values = list(values)
        for row, level in zip(self.rows, self.levels, strict=True):
            if level >= from_level:
                for number, value in self._row(row, values):
                    values[number] = value
        return values

    def _row(self, row: tuple[int, ...], values: list[Tensor]) -> list[tuple[int, Tensor]]:
        made: dict[int, Tensor] = {}
        for body in row:
            outputs = self.bodies[body](*(made.get(number, values[number]) for number in self.reads[body]))
            made.update(zip(self.numbers(body, values), outputs, strict=True))
        return list(made.items())

    def numbers(self, body: int, values: Sequence[Tensor]) -> range:
        """The numbers of what a body returns."""
        counts = [len(one) for one in self.unknowns]
        first = len(values) - sum(counts[body:])
        return range(first, first + counts[body])


def jacobi_blocks(blocks: Blocks, given: tuple[Tensor, ...], stop: Stop) -> tuple[Tensor, ...]:
    """Sweep from zeros until `stop`, and at most as often as the equations are deep: then every value is exact.

    A row of level k is final after sweep k, whatever it read before, NaN or infinite values included; it is not
    evaluated again. Where a sweep raises, because of what it was fed, or `max_sweeps` are used up, the rows that are
    not final yet run in order.
    """
    values, depth = blocks.start(given), max(blocks.levels)
    sizes: list[float] = []
    status: Status = "exact"
    for level in range(1, depth + 1):
        fresh = None if len(sizes) == stop.max_sweeps else _attempt(blocks, values, level)
        if fresh is None:
            values, status = blocks.in_order(values, level), "finished sequentially"
            break
        change = measure(_as_steps(_changed(fresh, values)), tighten(stop, sizes))
        values = fresh
        sizes.append(change.size)
        if level < depth and (change.exact or change.converged):
            status = "fixed point" if change.exact else "converged"
            break
    final = sum(level <= len(sizes) for level in blocks.levels) if status == "converged" else len(blocks.levels)
    last = sizes[-1] if sizes and status != "finished sequentially" else 0.0
    solution = Solution(blocks.name, "jacobi", len(blocks.levels), len(sizes), status, last, final)
    publish(solution, lambda one: certify_blocks(one, blocks, values, len(given)))
    return tuple(values[number] for number in blocks.results)


def _attempt(blocks: Blocks, values: list[Tensor], level: int) -> list[Tensor] | None:
    """One sweep; None where kernels refuse what it was fed, as a Cholesky factor of zeros, or shapes are others."""
    try:
        fresh = blocks.sweep(values, level)
    except (RuntimeError, IndexError, ValueError):
        return None
    return fresh if all(new.shape == old.shape for new, old in _changed(fresh, values)) else None


def _changed(fresh: list[Tensor], values: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    return [(new, old) for new, old in zip(fresh, values, strict=True) if new is not old]


def _as_steps(pairs: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """Each value as a stack of one step."""
    return [(new.unsqueeze(0), old.unsqueeze(0)) for new, old in pairs]


def certify_blocks(solution: Solution, blocks: Blocks, values: list[Tensor], given: int) -> Certificate:
    """All rows evaluated once more; where bits differ, sweeps tell what becomes of a small disturbance."""
    images = blocks.sweep(values)
    change = measure(_as_steps(_changed(images, values)), Stop())
    if change.exact:
        return Certificate(solution, 0.0, True, solution.length, 0.0, "equality")
    scale = max(float(value.abs().amax()) for value in values[given:] if has_size(value) and value.numel())
    if not change.finite or not 0 < scale < math.inf:
        return Certificate(solution, change.size, False, solution.prefix, math.inf, "disturbance")
    eps = max(torch.finfo(value.dtype).eps for value in values[given:] if has_size(value))
    size = max(_OUTWEIGHS * change.size, math.sqrt(eps) * scale)
    moved = [*values[:given], *(disturb(value, size) for value in values[given:])]
    factor, rate = amplification(_decay(blocks, values, moved), size)
    bound = factor * (change.size + 2 * _ROUNDINGS * eps * scale)
    return Certificate(solution, change.size, False, solution.prefix, bound, "disturbance", rate)


def _decay(blocks: Blocks, values: list[Tensor], moved: list[Tensor]) -> Iterator[float]:
    """The sizes of what sweep after sweep leaves of a disturbance; 0 after as many as the equations are deep."""
    while True:
        moved = blocks.sweep(moved)
        yield largest_gap(dict(enumerate(moved)), dict(enumerate(values)))
