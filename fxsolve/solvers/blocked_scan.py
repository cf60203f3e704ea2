"""The work-efficient scan: chunks in order inside, all chunks at once, then the same again for their carries.

Blelloch, "Prefix Sums and Their Applications", CMU-CS-90-190 (1990), section 1.3, with maps as the elements.
"""

import torch
from torch import Tensor

from fxsolve.solvers.affine_maps import Maps
from fxsolve.solvers.in_order_scan import in_order_scan, run_steps
from fxsolve.solvers.overflow import repair


def blocked_scan(maps: Maps, a: Tensor, b: Tensor, chunk: int) -> Tensor:
    """All d_t = a_t d_{t-1} + b_t of a (T, N, ...) and b (T, N, ...), with d_0 = b_0, in chunks of `chunk` steps.

    Three passes: each chunk composed to one map, the carries between chunks by this same scan, each chunk run from
    its carry. Inside a chunk the states are those of the loop, step by step; about 2 T applications and T
    compositions, and about 2 `chunk` ops in sequence for each of the log(T) / log(`chunk`) levels. A carry that
    overflowed only as a product is run again in order.
    """
    count = len(b) // chunk
    if chunk < 2 or count < 2:
        return in_order_scan(maps, a, b)
    result = torch.empty_like(b)
    whole = count * chunk
    folded_a, folded_b = _fold(a[:whole], chunk), _fold(b[:whole], chunk)
    starts = _starts(maps, folded_a, folded_b, chunk)
    # d_0 = b_0 whatever a_0 holds.
    first = folded_a[0].clone()
    first[0] = 0
    places = _fold(result[:whole], chunk)
    states = maps.step(first, starts, folded_b[0], places[0])
    ends = run_steps(maps, folded_a[1:], folded_b[1:], states, places[1:])
    run_steps(maps, a[whole:], b[whole:], ends[-1], result[whole:])
    return result


def _starts(maps: Maps, a: Tensor, b: Tensor, chunk: int) -> Tensor:
    """The state before each chunk, (count, N, ...); 0 before the first."""
    products, locals_ = maps.reduce(a[:, :-1], b[:, :-1])

    def advance(number: int, state: Tensor) -> Tensor:
        ends = torch.empty_like(b[:, number])
        return run_steps(maps, a[:, number], b[:, number], state, ends)

    carries = repair(blocked_scan(maps, products, locals_, chunk), advance)
    return torch.cat((torch.zeros_like(carries[:1]), carries))


def _fold(values: Tensor, chunk: int) -> Tensor:
    """(count * chunk, N, ...) -> (chunk, count, N, ...), a view."""
    return values.unflatten(0, (-1, chunk)).transpose(0, 1)
