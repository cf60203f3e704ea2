"""The laws of design section 4 on random triangular loops, against a brute-force evaluation in float64."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fxsolve.solvers.loop import Buffer, LoopLag
from fxsolve.solvers.solution import observe
from tests.solvers.cases import Case, bounds, cases


def brute_force(case: Case) -> list[list[Tensor]]:
    """Every output of every step, each computed from its definition with a fresh buffer: steps[t][output]."""
    steps: list[list[Tensor]] = []
    loop = case.loop
    for t in range(loop.length):
        lagged = [_lagged(lag, values, steps, t) for lag, values in zip(loop.lags, case.initial, strict=True)]
        buffers = [_buffer(spec, first, steps) for spec, first in zip(loop.buffer_specs, case.buffers, strict=True)]
        reads = (*lagged, *buffers, *(item[t] for item in case.per_step), *case.shared)
        steps.append(list(loop.body(*reads)))
    return steps


def _lagged(lag: LoopLag, initial: tuple[Tensor, ...], steps: list[list[Tensor]], t: int) -> Tensor:
    return steps[t - lag.distance][lag.output] if t >= lag.distance else initial[t]


def _buffer(spec: Buffer, first: Tensor, steps: list[list[Tensor]]) -> Tensor:
    columns = list(first.unbind(spec.dim))
    for index, outputs in zip(spec.index, steps, strict=False):
        columns[index] = outputs[spec.output]
    return torch.stack(columns, spec.dim)


def expected(case: Case) -> list[Tensor]:
    steps = brute_force(case)
    stacks = [torch.stack([outputs[number] for outputs in steps]) for number in case.loop.stacked]
    lasts = [steps[-1][number] for number in case.loop.last]
    buffers = [_buffer(spec, first, steps) for spec, first in zip(case.loop.buffer_specs, case.buffers, strict=True)]
    return [*stacks, *lasts, *buffers]


@settings(max_examples=60, deadline=None)
@given(cases(torch.float64, "tanh"), st.data())
def test_every_schedule_solves_the_equations(case: Case, data: st.DataObject) -> None:
    limits = data.draw(bounds(case.loop.length))
    wanted = expected(case)
    for results in (case.sequential(), case.swept(), case.swept(bounds=limits), case.swept(max_sweeps=1)):
        for result, value in zip(results, wanted, strict=True):
            torch.testing.assert_close(result, value, rtol=1e-12, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(cases(torch.int64, "modulo"), st.data())
def test_every_schedule_of_a_discrete_loop_gives_the_same_bits(case: Case, data: st.DataObject) -> None:
    limits = data.draw(bounds(case.loop.length))
    wanted = expected(case)
    for results in (case.sequential(), case.swept(), case.swept(bounds=limits), case.swept(max_sweeps=2)):
        assert all(map(torch.equal, results, wanted))


@settings(max_examples=60, deadline=None)
@given(cases(torch.int64, "modulo"), st.integers(0, 10**6), st.data())
def test_jacobi_is_exact_after_depth_sweeps_from_any_start(case: Case, seed: int, data: st.DataObject) -> None:
    """The start of a lag is its newest initial value and that of a buffer its own entries, so vary both."""
    generator = torch.Generator().manual_seed(seed)
    overwritten = tuple(
        _scramble(spec, buffer, generator) for spec, buffer in zip(case.loop.buffer_specs, case.buffers, strict=True)
    )
    varied = Case(case.loop, case.initial, overwritten, case.per_step, case.shared)
    with observe() as seen:
        results = varied.swept(bounds=data.draw(bounds(case.loop.length)))
        whole = varied.swept()
    assert all(map(torch.equal, results, expected(case)))
    assert all(map(torch.equal, whole, expected(case)))
    assert seen[1].sweeps <= case.depth


def _scramble(spec: Buffer, buffer: Tensor, generator: torch.Generator) -> Tensor:
    """Other values where steps write: a causal loop never reads what is there before."""
    index = torch.tensor(spec.index)
    noise = torch.randint(-99, 99, buffer.shape, generator=generator)
    return buffer.index_copy(spec.dim, index, noise.index_select(spec.dim, index))
