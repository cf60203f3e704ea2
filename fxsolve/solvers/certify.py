"""A solution put into its equations once more: its residual, the steps that are exact, and a bound on its error."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from fxsolve.solvers.bitwise import unchanged_steps
from fxsolve.solvers.bound import amplification, bound_by_jacobian, disturb, largest_gap
from fxsolve.solvers.certificate import Certificate
from fxsolve.solvers.equations import Equations
from fxsolve.solvers.layout import Layout, pack
from fxsolve.solvers.norms import has_size, measure
from fxsolve.solvers.solution import Solution
from fxsolve.solvers.stop import Stop
from fxsolve.solvers.window import Frontier, Unknowns

_ROUNDINGS = 4
_LINEAR = 1e-2
_OUTWEIGHS = 100
# Entries of all Jacobians; products of more take longer than sweeps.
_MOST_ENTRIES = 2**22


def certify(solution: Solution, equations: Equations, values: Unknowns) -> Certificate:
    """Evaluate all T steps once more at `values`, the stacks (T, ...) of the outputs that steps read, by number.

    Whole Jacobians of a moderate size tell how the loop propagates errors; without them up to 64 more sweeps do.
    """
    if not values:
        return Certificate(solution, 0.0, True, solution.length, None, "independent")
    images = equations.images(values)
    jacobian = _whole_jacobian(equations, values)
    if jacobian is None or equations.layout is None:
        return certify_by_disturbance(
            solution, values, images, equations.start.heads, partial(_sweep_on, equations, values)
        )
    bound = _by_jacobian(equations.start, equations.layout, values, images, jacobian)
    return replace(_compare(solution, values, images), bound=bound, basis="jacobian")


def certify_by_disturbance(
    solution: Solution,
    values: Unknowns,
    images: Unknowns,
    before: Iterable[Tensor],
    propagate: Callable[[Unknowns], Iterator[float]],
) -> Certificate:
    """`images` are F(S), `before` are the states that the first steps read; a step rounds by what it reads and gives.

    propagate(disturbed values) tells what one step after the other leaves of a disturbance.
    """
    found = _compare(solution, values, images)
    if found.basis == "equality":
        return found
    scale = _scale(values)
    if not 0 < scale < math.inf or not math.isfinite(found.residual):
        return replace(found, bound=0.0 if scale == found.residual == 0 else math.inf)
    size = max(_OUTWEIGHS * found.residual, math.sqrt(_eps(values)) * scale)
    moved = {number: disturb(value, size) for number, value in values.items()}
    factor, rate = amplification(propagate(moved), size)
    read = max((_largest(value) for value in before if has_size(value)), default=0.0)
    bound = factor * (found.residual + 2 * _ROUNDINGS * _eps(values) * max(scale, read))
    return replace(found, bound=_first_order(bound, values), rate=rate)


def _compare(solution: Solution, values: Unknowns, images: Unknowns) -> Certificate:
    """What F(S) tells by itself; that is all there is of discrete values."""
    pairs = [(images[number], value) for number, value in values.items()]
    change, same = measure(pairs, Stop()), unchanged_steps(pairs, solution.length)
    bitwise = same == solution.length
    residual, prefix = 0.0 if bitwise else change.size, max(same, solution.prefix)
    if any(map(has_size, values.values())):
        return Certificate(solution, residual, bitwise, prefix, math.inf, "disturbance")
    return Certificate(solution, residual, bitwise, prefix, 0.0 if bitwise else math.inf, "equality")


def _sweep_on(equations: Equations, values: Unknowns, moved: Unknowns) -> Iterator[float]:
    """The sizes of what sweep after sweep leaves of a disturbance."""
    while True:
        moved = equations.images(moved)
        yield largest_gap(moved, values)


def _whole_jacobian(equations: Equations, values: Unknowns) -> Tensor | None:
    """(T, *batch, n, n), or None where there is no such, or only one that is too large to multiply."""
    layout = equations.layout
    if layout is None or equations.linear is None:
        return None
    size = sum(layout.sizes)
    entries = sum(value.numel() for value in values.values())
    if entries * size > _MOST_ENTRIES:
        return None
    jacobian = equations.jacobian(values)
    shape = (len(jacobian), *layout.batch, size, size)
    return jacobian.reshape(shape) if jacobian.numel() == math.prod(shape) else None


def _by_jacobian(start: Frontier, layout: Layout, values: Unknowns, images: Unknowns, jacobian: Tensor) -> float:
    state = pack(layout, [values[number] for number in layout.outputs]).double()
    image = pack(layout, [images[number] for number in layout.outputs]).double()
    sizes = state.abs().amax(-1)
    before = torch.cat((sizes.new_zeros(1, *sizes.shape[1:]), sizes[:-1]))
    before[0] = max((_largest(head) for head in start.heads), default=0.0)
    steps = jacobian.double().abs().sum(-1).amax(-1)
    rounding = (_ROUNDINGS + state.shape[-1]) * _eps(values) * (sizes + steps * before)
    bounds = bound_by_jacobian(jacobian, (image - state).abs().amax(-1) + rounding)
    return _first_order(2 * _largest(bounds), values)


def _first_order(bound: float, values: Unknowns) -> float:
    """The bound, or infinity where it is too large for its first-order derivation."""
    return bound if bound <= _LINEAR * _scale(values) else math.inf


def _eps(values: Unknowns) -> float:
    """The coarsest rounding among the real states."""
    real = (value.dtype for value in values.values() if has_size(value))
    return max(torch.finfo(dtype).eps for dtype in real)


def _scale(values: Unknowns) -> float:
    real = (value for value in values.values() if has_size(value))
    return max((_largest(value) for value in real), default=0.0)


def _largest(values: Tensor) -> float:
    return float(values.abs().amax()) if values.numel() > 0 else 0.0
