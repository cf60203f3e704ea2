"""What composing lost is put right; what the program itself loses stays lost."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fxsolve.solvers.overflow import repair
from tests.solvers.affine_chains import loop

ENTRIES = st.sampled_from([0.0, 0.5, -2.0, 1e200, math.inf])


@st.composite
def spoiled(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """Chains a, b (T, 2), and their states behind the first with some that are not finite in the place of true ones."""
    length = draw(st.integers(1, 8))
    count = 2 * length
    a, b, lost = (
        torch.tensor(draw(st.lists(values, min_size=count, max_size=count))).reshape(length, 2)
        for values in (ENTRIES, ENTRIES, st.sampled_from([0.0, 0.0, math.nan, math.inf]))
    )
    states = loop(a.double(), b.double())
    lost[0] = 0
    return a.double(), b.double(), torch.where(lost != 0, lost.double(), states)


@settings(max_examples=200, deadline=None)
@given(spoiled())
def test_every_state_is_finite_where_the_loop_has_it_finite_and_equal_there(
    chain: tuple[Tensor, Tensor, Tensor],
) -> None:
    a, b, states = chain
    wanted = loop(a, b)
    advanced: list[int] = []

    def advance(t: int, state: Tensor) -> Tensor:
        advanced.append(t)
        return a[t] * state + b[t]

    found = repair(states, advance)
    assert found is states
    kept = wanted.isfinite()
    assert torch.equal(found.isfinite(), kept)
    assert torch.equal(found[kept], wanted[kept])
    assert advanced == sorted(set(advanced))


def test_finite_entries_keep_their_bits_beside_one_that_is_put_right() -> None:
    states = torch.tensor([[1.0, 1.0], [math.nan, 2.0], [3.0, 4.0]])
    assert repair(states, lambda t, state: state + 0.5).tolist() == [[1, 1], [1.5, 2], [3, 4]]


def test_where_all_is_finite_nothing_is_run_again() -> None:
    states = torch.randn(5, 2)
    kept = states.clone()
    assert torch.equal(repair(states, lambda t, state: 1 / 0), kept)


def test_a_state_that_is_not_finite_costs_one_step_and_not_all_that_follow() -> None:
    states = torch.full((100, 1), math.inf)
    states[:3] = 1.0
    advanced: list[int] = []
    repair(states, lambda t, state: advanced.append(t) or state * math.inf)
    assert advanced == [3]
