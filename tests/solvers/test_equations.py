"""The equations of all steps, evaluated in pieces, against the steps one by one and against derivatives."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import jacrev

from fxsolve.solvers.equations import batches_between
from fxsolve.solvers.stop import Stop
from fxsolve.solvers.window import first_guess, sweep, unknowns
from fxsolve.solvers.windows import receive
from tests.solvers.cases import Case, bounds, cases
from tests.solvers.cells import CELLS, make_chain


@st.composite
def batches(draw: st.DrawFn, length: int) -> list[slice]:
    """All steps, in pieces, with more that overlap them, in any order."""
    cut = batches_between(draw(bounds(length)))
    more = [slice(start, draw(st.integers(start + 1, length))) for start in draw(st.sets(st.integers(0, length - 1)))]
    return draw(st.permutations(cut + more))


@settings(max_examples=60, deadline=None)
@given(cases(torch.int64, "modulo"), st.data())
def test_images_do_not_depend_on_the_batches_they_are_made_in(case: Case, data: st.DataObject) -> None:
    arguments = (case.loop, case.initial, case.buffers, case.per_step, case.shared, Stop())
    equations = receive(*arguments, data.draw(batches(case.loop.length)))
    values = first_guess(equations.window)
    wanted = unknowns(case.loop, sweep(equations.window, values))
    found = equations.images(values)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[number], wanted[number]) for number in wanted)


@settings(max_examples=40, deadline=None)
@given(cases(torch.int64, "modulo"))
def test_the_values_of_the_loop_in_order_are_the_ones_that_the_equations_leave(case: Case) -> None:
    numbers = tuple({lag.output for lag in case.loop.lags} | {spec.output for spec in case.loop.buffer_specs})
    case.loop.stacked, case.loop.last = numbers, ()
    values = dict(zip(numbers, case.sequential(), strict=False))
    whole = [slice(0, case.loop.length)]
    equations = receive(case.loop, case.initial, case.buffers, case.per_step, case.shared, Stop(), whole)
    assert all(torch.equal(equations.images(values)[number], values[number]) for number in numbers)


@pytest.mark.parametrize("kind", sorted(CELLS))
def test_the_jacobian_is_that_of_every_step_at_its_values(kind: str) -> None:
    chain = make_chain(kind, 0.9, torch.float64, length=5, batch=1, size=2, seed=0)
    chain = replace(chain, initial=tuple(value[0] for value in chain.initial), x=chain.x[:, 0])
    equations = receive(chain.loop, *chain.arguments, Stop(), [slice(3, 5), slice(0, 3)][::-1])
    equations = replace(equations, linear=chain.linear(), layout=chain.layout)
    _, *states = chain.sequential()
    values = dict(enumerate(states, start=1))
    for t, jacobian in enumerate(equations.jacobian(values)):
        before = torch.stack(chain.initial) if t == 0 else torch.stack([state[t - 1] for state in states])

        def step(packed: torch.Tensor, t: int = t) -> torch.Tensor:
            return torch.stack(chain.loop.body(*packed, chain.x[t], chain.w)[1:])

        n = before.numel()
        wanted = jacrev(step)(before).reshape(n, n)
        if kind == "diagonal":
            wanted = wanted.diagonal()
        torch.testing.assert_close(jacobian, wanted)


def test_batches_lie_between_neighbouring_limits() -> None:
    assert batches_between((0, 2, 3, 7)) == [slice(0, 2), slice(2, 3), slice(3, 7)]
