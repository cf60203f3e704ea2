"""Rewrite the repeats of an extracted system: reads in their simplest form, and each repeat in its parts."""

from collections.abc import Callable
from dataclasses import replace
from functools import reduce

from fxsolve.ir.bodies import close_repeat, open_repeat
from fxsolve.ir.spec import Equation, Repeat, System
from fxsolve.rewrite.apart import take_apart
from fxsolve.rewrite.carried_rows import carry_rows
from fxsolve.rewrite.copies import drop_clones, drop_views, read_written, simplify_copies
from fxsolve.rewrite.fission import hoist, split_repeat
from fxsolve.rewrite.forwarding import Origins
from fxsolve.rewrite.lags import unit_lags
from fxsolve.rewrite.merge import flatten_buffers, merge_selections
from fxsolve.rewrite.prefix import find_prefixes
from fxsolve.rewrite.prune import prune
from fxsolve.rewrite.rows import read_rows
from fxsolve.rewrite.slices import lift_slices


def simplify(system: System) -> System:
    """The system with the reads and writes of its repeats in their simplest form."""
    return _rewrite(system, _simplify)


def hoist_invariants(system: System) -> System:
    """The system with what no step of a repeat changes in a block in front of it."""
    return _rewrite(system, _hoist)


def _rewrite(system: System, rule: Callable[[Repeat], list[Equation]]) -> System:
    equations: list[Equation] = []
    for equation in system.equations:
        equations += rule(equation) if isinstance(equation, Repeat) else [equation]
    return replace(system, equations=tuple(equations))


def split(system: System) -> System:
    """The system with every repeat in its parts; what a repeat only hands on is read where it comes from."""
    origins = Origins()
    equations: list[Equation] = []
    for equation in map(origins.read_through, system.equations):
        parts = split_repeat(equation) if isinstance(equation, Repeat) else [equation]
        for part in map(origins.read_through, parts):
            origins.note(part)
            equations.append(part)
    return replace(system, equations=tuple(equations))


def products_apart(system: System) -> System:
    """The system with products over what is joined in parts, which round in another order."""
    return _rewrite(system, _take_apart)


# In this order; every one leaves a system that is well formed and computes the same.
REWRITES: tuple[Callable[[System], System], ...] = (simplify, prune, split, prune)
# The same within rounding: what these leave is faster.
ROUNDED: tuple[Callable[[System], System], ...] = (simplify, prune, products_apart, split, prune)


def rewrite(system: System) -> System:
    """The system with its repeats simplified and split, without what nothing reads."""
    return reduce(lambda rewritten, step: step(rewritten), REWRITES, system)


def _simplify(repeat: Repeat) -> list[Equation]:
    opened = open_repeat(repeat)
    simplify_copies(opened)
    read_written(opened)
    drop_clones(opened)
    drop_views(opened)
    before, after = flatten_buffers(opened)
    merge_selections(opened)
    lift_slices(opened)
    first, together = carry_rows(opened)
    find_prefixes(opened)
    rows, filled = read_rows(opened)
    unit_lags(opened)
    return [*before, *first, *rows, close_repeat(opened), *filled, *together, *after]


def _take_apart(repeat: Repeat) -> list[Equation]:
    opened = open_repeat(repeat)
    take_apart(opened)
    return [close_repeat(opened)]


def _hoist(repeat: Repeat) -> list[Equation]:
    opened = open_repeat(repeat)
    return [*hoist(opened), close_repeat(opened)]
