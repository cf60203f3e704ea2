"""The scan in order against the loop, on integers that no sum rounds."""

import pytest
import torch
from torch import Tensor

from fxsolve.solvers.affine_maps import Dense, Diagonal
from fxsolve.solvers.in_order_scan import in_order_scan, run_steps
from tests.solvers.affine_chains import loop

LENGTHS = [1, 2, 64, 65, 66, 129, 200]
"""On both sides of the slabs of 64 steps that are widened at once."""


def integers(*shape: int, most: int = 1) -> Tensor:
    return torch.randint(-most, most + 1, shape).double()


@pytest.mark.parametrize("length", LENGTHS)
def test_all_states_are_those_of_the_loop(length: int) -> None:
    a, b = integers(length, 3), integers(length, 3, most=9)
    wanted = loop(a, b)
    a[0] = torch.nan  # nothing stands before the first state
    assert torch.equal(in_order_scan(Diagonal(), a, b), wanted)


@pytest.mark.parametrize("length", LENGTHS)
def test_matrices_that_are_held_narrow_are_applied_wide(length: int) -> None:
    a, b = integers(length, 2, 2, 2).tril(), integers(length, 2, 2, most=9)
    a[:, :, 0, 0] = 0.1 if length < 3 else 0
    b += 2.0**-40
    found = in_order_scan(Dense(), a.float(), b.unsqueeze(-1)).squeeze(-1)
    assert torch.equal(found, loop(a.float().double(), b))


def test_steps_go_on_from_a_state_and_return_the_last_one() -> None:
    a, b, state = integers(5, 3), integers(5, 3, most=9), integers(3, most=9)
    out = torch.empty(5, 3).double()
    last = run_steps(Diagonal(), a, b, state, out)
    assert torch.equal(out, loop(torch.cat((a[:1], a)), torch.cat((state[None], b)))[1:])
    assert torch.equal(last, out[-1])


def test_no_step_leaves_the_state() -> None:
    state, none = integers(3), torch.empty(0, 3).double()
    assert torch.equal(run_steps(Diagonal(), none, none, state, none), state)
