"""Values that compiled steps gave, looked at by the program's own steps."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fxsolve.solvers.compiled_steps import OwnSteps, certify_compiled
from fxsolve.solvers.solution import Solution
from fxsolve.solvers.window import Unknowns
from tests.solvers.cells import CellChain, make_chain

LENGTH = 9
SOLUTION = Solution("loop", "fused_gauss_seidel", LENGTH, LENGTH, "sequential", prefix=LENGTH)


def chain_of(kind: str, length: int = LENGTH) -> CellChain:
    return make_chain(kind, 0.6, torch.float64, length, batch=2, size=3, seed=1)


def own(chain: CellChain) -> OwnSteps:
    initial = tuple((value,) for value in chain.initial)
    return OwnSteps(chain.loop, initial, (), lambda t: [chain.x[t]], (chain.w,))


def carried(chain: CellChain) -> Unknowns:
    return dict(enumerate(chain.sequential()[1:], start=1))


@pytest.mark.parametrize("kind", ["tanh", "lstm"])
def test_a_step_reads_the_values_of_the_one_before_it_and_the_first_the_start(kind: str) -> None:
    chain = chain_of(kind)
    steps, values = own(chain), carried(chain)
    for t in range(LENGTH):
        for number, value in values.items():
            assert torch.equal(steps.step(t, values)[number], value[t])


@pytest.mark.parametrize("kind", ["tanh", "lstm"])
def test_what_the_own_steps_leave_as_it_is_is_exact(kind: str) -> None:
    chain = chain_of(kind)
    found = certify_compiled(SOLUTION, own(chain), carried(chain))
    assert (found.bitwise, found.residual, found.prefix, found.solution) == (True, 0.0, LENGTH, SOLUTION)


@pytest.mark.parametrize("at", [0, 4, LENGTH - 1])
def test_exact_are_only_the_steps_in_front_of_one_that_differs_whatever_the_solution_says(at: int) -> None:
    chain = chain_of("tanh")
    values: dict[int, Tensor] = dict(carried(chain))
    values[1] = values[1].clone()
    values[1][at] += 1e-9
    found = certify_compiled(SOLUTION, own(chain), values)
    assert (found.bitwise, found.prefix) == (False, at)
    assert 0.5e-9 < found.residual < 2e-9
    assert found.bound is not None
    assert 1e-9 <= found.bound < 1e-6


def test_a_loop_that_keeps_what_disturbs_it_for_64_steps_has_no_bound() -> None:
    chain = replace(chain_of("affine", length=70), w=torch.eye(3, dtype=torch.float64))
    found = certify_compiled(replace(SOLUTION, length=70), own(chain), carried(chain))
    assert found.bitwise
    assert found.bound == math.inf
