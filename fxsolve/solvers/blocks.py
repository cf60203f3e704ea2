"""Jacobi sweeps over blocks that are not alike: every block reads what the blocks gave in the last sweep.

Song et al. 2021 (arXiv 2002.03629), algorithm 1, on the equations of a whole network: x_i <- f_i(u, x_<i) for all i.
"""

import math
from collections.abc import Collection, Iterator, Sequence

import torch
from torch import Tensor, nn

from fxsolve.solvers.added import AddedProgress, AlikeAdded
from fxsolve.solvers.alike import Alike, Progress
from fxsolve.solvers.bound import amplification, disturb, largest_gap
from fxsolve.solvers.certificate import Certificate
from fxsolve.solvers.norms import has_size, measure
from fxsolve.solvers.requests import publish
from fxsolve.solvers.solution import Solution, Status
from fxsolve.solvers.stop import Stop, tighten

_ROUNDINGS = 4
_OUTWEIGHS = 100
Unknown = tuple[tuple[int, ...], torch.dtype]
Together = Alike | AlikeAdded
Kept = Progress | AddedProgress


class Blocks(nn.Module):
    """Equations (x_a, x_b, ...) = body(values...), in an order in which each reads only what stands before it.

    Values are numbered: first those that are given, then what the bodies return, one after the other. `reads` has the
    numbers that each body takes, `rows` the bodies that run in order inside of one equation, `levels` the level of each
    row, `unknowns` shape and type of all values that bodies return, `results` the numbers that are wanted. Sweeps pass
    over the rows of each group in `together` at once, by its module, to within rounding; those rows in `incomplete` of
    which it does not give everything run by themselves once more, at the end. `notes` say so of what is swept at once,
    and why other rows are not.
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
        together: Sequence[tuple[tuple[int, ...], Together]] = (),
        incomplete: tuple[int, ...] = (),
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.name = name
        self.bodies = nn.ModuleList(bodies)
        self.reads, self.rows, self.levels = reads, rows, levels
        self.unknowns, self.results = unknowns, results
        self.together = nn.ModuleList(module for _, module in together)
        grouped = {row for group, _ in together for row in group}
        self.alone = tuple(row for row in range(len(rows)) if row not in grouped)
        self.incomplete, self.notes = incomplete, notes

    def extra_repr(self) -> str:
        return f"{self.name}: {len(self.rows)} equations of depth {max(self.levels)}"

    def start(self, given: tuple[Tensor, ...]) -> list[Tensor]:
        """The values before the first sweep: those that are given, and zeros."""
        device = next((value.device for value in given), None)
        zeros = (torch.zeros(shape, dtype=dtype, device=device) for one in self.unknowns for shape, dtype in one)
        return [*given, *zeros]

    def progress(self, values: list[Tensor]) -> list[Kept]:
        """What is kept between sweeps of the groups, before the first one."""
        return [module.start(values) for module in self.together]  # pyright: ignore[reportCallIssue]

    def sweep(self, values: list[Tensor], from_level: int = 1, rows: Collection[int] | None = None) -> list[Tensor]:
        """All `rows` of a level or a higher one evaluated once at `values`; the other values as they are."""
        fresh = list(values)
        for place in range(len(self.rows)) if rows is None else rows:
            if self.levels[place] >= from_level:
                for number, value in self._row(self.rows[place], values):
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


def notes_on_blocks(module: nn.Module) -> Iterator[str]:
    """What there is to say of how the blocks in a module are swept."""
    for part in module.modules():
        if isinstance(part, Blocks):
            yield from part.notes


def jacobi_blocks(blocks: Blocks, given: tuple[Tensor, ...], stop: Stop) -> tuple[Tensor, ...]:
    """Sweep from zeros until `stop`, and at most as often as the equations are deep: then every value is exact.

    A row of level k is final after sweep k, whatever it read before, NaN or infinite values included; it is not
    evaluated again. Where a sweep raises, because of what it was fed, or `max_sweeps` are used up, the rows that are
    not final yet run in order; so they do where rows that are swept together meet a value that is not finite, which
    would reach all of them.
    """
    values, depth = blocks.start(given), max(blocks.levels)
    progress = blocks.progress(values)
    sizes: list[float] = []
    status: Status = "converged" if progress else "exact"
    for level in range(1, depth + 1):
        made = None if len(sizes) == stop.max_sweeps else sweep_once(blocks, values, level, progress)
        change = measure(made[1], tighten(stop, sizes)) if made is not None else None
        if made is None or change is None or not (change.finite or not progress):
            values, status = blocks.in_order(values, level), "finished sequentially"
            break
        values = made[0]
        sizes.append(change.size)
        if level < depth and (change.exact or change.converged):
            status = "fixed point" if change.exact else "converged"
            break
    if status != "finished sequentially":
        values = blocks.sweep(values, rows=blocks.incomplete)
    final = sum(level <= len(sizes) for level in blocks.levels) if status == "converged" else len(blocks.levels)
    last = sizes[-1] if sizes and status != "finished sequentially" else 0.0
    solution = Solution(blocks.name, "jacobi", len(blocks.levels), len(sizes), status, last, final)
    publish(solution, lambda one: certify_blocks(one, blocks, values, len(given)))
    return tuple(values[number] for number in blocks.results)


Pairs = list[tuple[Tensor, Tensor]]


def sweep_once(
    blocks: Blocks, values: list[Tensor], level: int, progress: Sequence[Kept]
) -> tuple[list[Tensor], Pairs] | None:
    """One sweep, and what it changed, (new, old) stacks of steps.

    None where kernels refuse what it was fed, as a Cholesky factor of zeros, or shapes are others.
    """
    try:
        fresh = blocks.sweep(values, level, blocks.alone)
        changed = _changed(fresh, values)
        stacks = [
            pair
            for module, kept in zip(blocks.together, progress, strict=True)
            for pair in _sweep_together(module, values, fresh, level, kept)  # pyright: ignore[reportArgumentType]
        ]
    except (RuntimeError, IndexError, ValueError):
        return None
    return (fresh, [*_as_steps(changed), *stacks]) if all(new.shape == old.shape for new, old in changed) else None


def _sweep_together(
    module: Together, values: Sequence[Tensor], fresh: list[Tensor], level: int, kept: Kept
) -> Iterator[tuple[Tensor, Tensor]]:
    """Enter into `fresh` what blocks that are alike give, those of lower levels aside; yields what it changed."""
    wiring = module.wiring
    if max(wiring.levels) < level:
        return
    made = module.sweep(values, level, kept)  # pyright: ignore[reportArgumentType]
    before = kept.results or [torch.zeros_like(one) for one in made]
    kept.results = made
    yield from zip(kept.totals, kept.totals, strict=True)  # NaN in them, 0 * inf, need not reach the results
    for stack, old, numbers in zip(made, before, wiring.results, strict=True):
        yield stack, old
        for number, value in zip(numbers[kept.first :], module.parts(stack, kept.first), strict=True):
            if number >= 0:
                fresh[number] = value


def _changed(fresh: list[Tensor], values: list[Tensor]) -> Pairs:
    return [(new, old) for new, old in zip(fresh, values, strict=True) if new is not old]


def _as_steps(pairs: Pairs) -> Pairs:
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
