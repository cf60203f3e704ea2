"""How far the values of a loop may lie from its exact solution, to first order in the error.

The error e_t = S_t - s_t obeys e_t = J_t e_{t-1} + r_t, with r the residual and the rounding of one step. The loop
may pile up what every step brings, however small.
"""

import math
from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor

from fxsolve.solvers.affine_scan import scan_diagonal
from fxsolve.solvers.norms import has_size
from fxsolve.solvers.window import Unknowns

_SPAN = 64
_DECAY = 0.1
_SAFETY = 4.0


def bound_by_jacobian(jacobian: Tensor, source: Tensor) -> Tensor:
    """e (T, *batch) with |e_t| <= sum_{i<m} |J_t ... J_{t-i+1}| |r_{t-i}| + |J_t ... J_{t-m+1}| |e_{t-m}| in max norms.

    `jacobian` is (T, *batch, n, n) and `source` = |r| (T, *batch). m is the first span whose products all shrink, since
    norms of single steps may be above 1 where their products are not; 64 at most. Infinite where the bound overflows.
    """
    products = jacobian.double()
    factors, total, span = products, source.double(), 1
    norms = _norms(products, span)
    while float(norms.amax()) > _DECAY and span < min(_SPAN, len(jacobian)):
        total = torch.cat((total[:span], total[span:] + norms[span:] * source[:-span]))
        products = torch.cat((products[:span], products[span:] @ factors[:-span]))
        span += 1
        norms = _norms(products, span)
    padding = -len(source) % span
    strided = [_pad(values, padding).unflatten(0, (-1, span)) for values in (norms, total)]
    return scan_diagonal(*strided).flatten(0, 1)[: len(source)].nan_to_num(math.inf, math.inf)


def amplification(sizes: Iterator[float], size: float) -> tuple[float, float]:
    """What steps make of a disturbance of `size`: the sum of its sizes over its first, and the rate of its decay.

    `sizes` are those that it has after one step, two, and so on; they are taken until a tenth is left. The sum
    estimates max |(I - A)^-1|. Infinite if 64 steps do not suffice.
    """
    seen = [size]
    for left in islice(sizes, _SPAN):
        seen.append(left)
        if not left > _DECAY * size:
            break
    if not seen[-1] <= _DECAY * size:
        return math.inf, 1.0
    rate = (seen[-1] / size) ** (1 / (len(seen) - 1))
    return _SAFETY * (sum(seen) + seen[-1] * rate / (1 - rate)) / size, rate


def disturb(values: Tensor, size: float) -> Tensor:
    """Every entry moved by `size` one way or the other; discrete values as they are."""
    if not has_size(values):
        return values
    # Not the generator of the program, which is to draw as if nothing had happened.
    generator = torch.Generator(values.device).manual_seed(0)
    signs = torch.randint(0, 2, values.shape, generator=generator, device=values.device) * 2 - 1
    return values + size * signs.to(values.dtype)


def largest_gap(moved: Unknowns, values: Unknowns) -> float:
    """max |moved - values| over all that has a size."""
    pairs = ((moved[number], value) for number, value in values.items() if value.numel() > 0)
    sizes = [(new - old).abs().amax().double() for new, old in pairs if has_size(new)]
    return float(torch.stack(sizes).amax()) if sizes else 0.0


def _norms(products: Tensor, span: int) -> Tensor:
    """max-norms (T, *batch) of the products of `span` steps; 0 where fewer steps lie behind."""
    norms = products.abs().sum(-1).amax(-1)
    return torch.cat((torch.zeros_like(norms[:span]), norms[span:]))


def _pad(values: Tensor, count: int) -> Tensor:
    return torch.cat((values, values.new_zeros(count, *values.shape[1:])))
