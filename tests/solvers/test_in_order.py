"""The steps of a window one by one, wherever windows are cut, against the loop in order."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fxsolve.solvers.in_order import run_in_order
from fxsolve.solvers.window import Given, advance, open_window, unknowns
from fxsolve.solvers.windows import start_of
from tests.solvers.cases import Case, bounds, cases


@settings(max_examples=60, deadline=None)
@given(cases(torch.int64, "modulo"), st.data())
def test_windows_run_in_order_are_the_loop_wherever_they_are_cut(case: Case, data: st.DataObject) -> None:
    given_, frontier = Given(case.loop, case.per_step, case.shared), start_of(case.initial, case.buffers)
    kept = [buffer.clone() for buffer in case.buffers]
    pieces = []
    for stop in data.draw(bounds(case.loop.length))[1:]:
        window = open_window(given_, frontier, stop)
        pieces.append(run_in_order(window))
        assert all(len(stack) == window.length for stack in pieces[-1])
        frontier = advance(window, unknowns(case.loop, pieces[-1]))
    stacks = [torch.cat(parts) for parts in zip(*pieces, strict=True)]
    results = [*(stacks[k] for k in case.loop.stacked), *(stacks[k][-1] for k in case.loop.last), *frontier.buffers]
    assert all(torch.equal(*pair) for pair in zip(results, case.sequential(), strict=True))
    assert all(torch.equal(*pair) for pair in zip(case.buffers, kept, strict=True))
