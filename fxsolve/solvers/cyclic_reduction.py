"""The logarithmic scan: parallel cyclic reduction of the bidiagonal system d_t - a_t d_{t-1} = b_t.

Hockney and Jesshope, "Parallel Computers" (1981), section 5.4; for prefix sums Hillis and Steele, "Data parallel
algorithms", CACM 29 (1986).
"""

import torch
from torch import Tensor

from fxsolve.solvers.affine_maps import Maps
from fxsolve.solvers.overflow import repair


def cyclic_reduction(maps: Maps, a: Tensor, b: Tensor) -> Tensor:
    """All d_t = a_t d_{t-1} + b_t of a (T, N, ...) and b (T, N, ...), with d_0 = b_0, in ceil(log2 T) passes.

    Pass k composes each map with the one 2^k steps before it, so the work is T log2 T compositions, and every product
    of up to T factors is formed. Where such a product overflows although the states do not, the result would be NaN;
    those steps are run again in order, one by one, and nothing is gained.
    """
    factors, states, distance = a, b.clone(), 1
    while distance < len(b):
        ahead = states.clone()
        maps.step(factors[distance:], states[:-distance], states[distance:], ahead[distance:])
        states, factors = ahead, torch.cat((factors[:distance], maps.compose(factors[distance:], factors[:-distance])))
        distance *= 2

    def advance(t: int, state: Tensor) -> Tensor:
        return maps.step(a[t], state, b[t], torch.empty_like(b[t]))

    return repair(states, advance)
