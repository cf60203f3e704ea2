import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fxsolve.errors import ScheduleError
from fxsolve.solvers.certificate import Certificate, carried, certify
from fxsolve.solvers.gauss_seidel import gauss_seidel
from fxsolve.solvers.jacobi import jacobi
from fxsolve.solvers.loop import Lag, Loop
from fxsolve.solvers.solution import observe
from fxsolve.solvers.window import Unknowns
from tests.solvers.cases import Case, cases
from tests.solvers.cells import CellChain, cell_chains, make_chain

CELLS = ("tanh", "diagonal", "gru", "lstm", "affine")
TOLERANCES = (0.0, 1e-6, 1e-4)


def certify_chain(chain: CellChain, results: tuple[Tensor, ...], exact_norms: bool) -> Certificate:
    linearized = (chain.linear(), chain.layout) if exact_norms else None
    return certify(chain.loop, *chain.arguments, carried(chain.loop, results), linearized)


def error(values: Unknowns, truth: Unknowns) -> float:
    gaps = [(value.double() - truth[number]).abs().amax().item() for number, value in values.items()]
    return max(gaps, default=0.0)


@settings(max_examples=40, deadline=None)
@given(
    cell_chains(torch.float32, CELLS, gains=(0.5, 0.9, 1.2, 1.6, 2.0), most=60),
    st.sampled_from(TOLERANCES),
    st.booleans(),
)
def test_the_bound_holds_against_float64_for_every_way_of_solving(
    chain: CellChain, tolerance: float, exact_norms: bool
) -> None:
    """Three solutions a trial: by Newton, by Jacobi and in order."""
    truth = carried(chain.loop, chain.double().sequential())
    swept = jacobi(chain.loop, *chain.arguments, tolerance, tolerance, None, (0, len(chain.x)))
    for results in (chain.newton(tolerance, tolerance)[0], swept, chain.sequential()):
        certificate = certify_chain(chain, results, exact_norms)
        gap = error(carried(chain.loop, results), truth)
        assert gap <= certificate.bound or (math.isnan(gap) and certificate.bound == math.inf)
        assert certificate.basis == ("jacobian" if exact_norms else "disturbance")


@settings(max_examples=40, deadline=None)
@given(cases(torch.float32, "tanh", most=10), st.sampled_from(TOLERANCES))
def test_the_bound_holds_for_loops_that_read_buffers_and_longer_lags(case: Case, tolerance: float) -> None:
    case = everything_stacked(case)
    results = case.swept(tolerance, tolerance)
    certificate = certify(
        case.loop, case.initial, case.buffers, case.per_step, case.shared, carried(case.loop, results)
    )
    truth = carried(case.loop, double(case).sequential())
    assert error(carried(case.loop, results), truth) <= certificate.bound


def everything_stacked(case: Case) -> Case:
    loop = case.loop
    outputs = tuple(range(loop.body.lag_weights.shape[0]))
    return replace(case, loop=Loop(loop.body, loop.length, loop.lags, loop.buffer_specs, stacked=outputs))


def double(case: Case) -> Case:
    body, loop = case.loop.body, case.loop
    wide = type(body)(body.lag_weights.double(), body.buffer_weights.double(), body.dims, body.act)
    return Case(
        Loop(wide, loop.length, loop.lags, loop.buffer_specs, loop.stacked),
        tuple(tuple(value.double() for value in values) for values in case.initial),
        tuple(value.double() for value in case.buffers),
        tuple(value.double() for value in case.per_step),
        tuple(value.double() for value in case.shared),
    )


@settings(max_examples=40, deadline=None)
@given(cell_chains(torch.float64, CELLS), st.integers(0, 23), st.booleans())
def test_a_value_that_is_off_is_seen(chain: CellChain, at: int, exact_norms: bool) -> None:
    values = {number: value.clone() for number, value in carried(chain.loop, chain.sequential()).items()}
    step = at % len(chain.x)
    values[1][step] += 1e-3
    linearized = (chain.linear(), chain.layout) if exact_norms else None
    certificate = certify(chain.loop, *chain.arguments, values, linearized)
    assert not certificate.bitwise
    assert certificate.prefix == step
    assert certificate.residual > 0.5e-3
    assert certificate.bound >= 1e-3


@settings(max_examples=30, deadline=None)
@given(cell_chains(torch.float32, CELLS))
def test_a_solution_that_no_sweep_changes_is_proved_as_a_whole(chain: CellChain) -> None:
    certificate = certify_chain(chain, chain.sequential(), True)
    assert (certificate.bitwise, certificate.residual) == (True, 0.0)
    assert certificate.prefix == len(chain.x)


@settings(max_examples=20, deadline=None)
@given(cases(torch.int64, "modulo"))
def test_discrete_solutions_are_right_or_not(case: Case) -> None:
    case = everything_stacked(case)
    values = carried(case.loop, case.sequential())
    arguments = (case.loop, case.initial, case.buffers, case.per_step, case.shared)
    certificate = certify(*arguments, values)
    assert (certificate.basis, certificate.bound, certificate.bitwise) == ("equality", 0.0, True)
    if values:
        wrong = {number: value + 1 for number, value in values.items()}
        certificate = certify(*arguments, wrong)
        assert certificate.bitwise == (certificate.bound == 0.0)


def test_a_contraction_has_a_small_bound_and_the_rate_of_its_sweeps() -> None:
    chain = make_chain("diagonal", 0.5, torch.float64, length=300, batch=2, size=4, seed=0)
    results = chain.sequential()
    norms, sweeps = certify_chain(chain, results, True), certify_chain(chain, results, False)
    assert norms.bound < 1e-13
    assert sweeps.bound < 1e-12
    assert sweeps.rate is not None
    assert 0.2 < sweeps.rate < 0.7


def test_a_chaotic_chain_has_no_bound() -> None:
    chain = make_chain("tanh", 3.0, torch.float32, length=400, batch=1, size=16, seed=0)
    chain = replace(chain, x=0.1 * chain.x)
    for exact_norms in (True, False):
        certificate = certify_chain(chain, chain.sequential(), exact_norms)
        assert certificate.bound == math.inf
        assert certificate.bitwise


def test_a_solution_that_is_not_finite_has_no_bound() -> None:
    chain = make_chain("tanh", 0.5, torch.float32, length=5, batch=1, size=2, seed=0)
    chain.x[2] = math.nan
    for exact_norms in (True, False):
        certificate = certify_chain(chain, chain.sequential(), exact_norms)
        assert certificate.bound == math.inf
        assert (certificate.bitwise, certificate.residual) == (True, 0.0)


def test_a_certificate_keeps_what_the_solver_did() -> None:
    chain = make_chain("gru", 0.6, torch.float32, length=50, batch=1, size=2, seed=0)
    results, solution = chain.newton(1e-6, 1e-6)
    certificate = certify(chain.loop, *chain.arguments, carried(chain.loop, results), solution=solution)
    assert certificate.solution is solution


def test_the_last_change_and_its_rate_bound_the_error_of_jacobi_for_free() -> None:
    chain = make_chain("diagonal", 0.9, torch.float64, length=400, batch=1, size=4, seed=0)
    with observe() as seen:
        results = jacobi(chain.loop, *chain.arguments, 1e-8, 0.0, None, (0, 400))
    (solution,) = seen
    assert solution.status == "converged"
    assert solution.bound is not None
    gap = error(carried(chain.loop, results), carried(chain.loop, chain.sequential()))
    assert gap <= 10 * solution.bound < 1e-6


def test_values_that_are_not_stacked_cannot_be_certified() -> None:
    chain = make_chain("tanh", 0.9, torch.float32, length=3, batch=1, size=2, seed=0)
    loop = Loop(chain.loop.body, 3, (Lag(1, 1),), stacked=(0,))
    with pytest.raises(ScheduleError, match="loop does not stack output 1, which its steps read; stack it"):
        carried(loop, gauss_seidel(loop, *chain.arguments))


def test_the_diagonal_alone_bounds_nothing() -> None:
    chain = make_chain("tanh", 0.9, torch.float32, length=3, batch=1, size=2, seed=0)
    values = carried(chain.loop, chain.sequential())
    with pytest.raises(ScheduleError, match="loop has a bound by its whole Jacobian; its diagonal alone gives none"):
        certify(chain.loop, *chain.arguments, values, (chain.linear(diagonal=True), chain.layout))
