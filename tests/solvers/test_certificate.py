import math
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fxsolve.solvers.certificate import Certificate
from fxsolve.solvers.certify import certify
from fxsolve.solvers.fuse import FusedChunk, fused_gauss_seidel
from fxsolve.solvers.jacobi import jacobi
from fxsolve.solvers.jacobi_gs import jacobi_gs
from fxsolve.solvers.levels import levels
from fxsolve.solvers.loop import Loop, LoopLag
from fxsolve.solvers.newton import newton
from fxsolve.solvers.picard import picard
from fxsolve.solvers.requests import asked_by, certificates, requests
from fxsolve.solvers.scan import scan
from fxsolve.solvers.sliding import sliding
from fxsolve.solvers.solution import Solution, observe
from fxsolve.solvers.stop import Stop
from fxsolve.solvers.window import Unknowns
from fxsolve.solvers.windows import receive
from tests.solvers.cases import Case, cases
from tests.solvers.cells import Cell, CellChain, cell_chains, make_chain

CELLS = ("tanh", "diagonal", "gru", "lstm", "affine")
TOLERANCES = (0.0, 1e-6, 1e-4)


def carried(loop: Loop, results: tuple[Tensor, ...]) -> Unknowns:
    """The stacks that steps read, out of what a solver returned."""
    numbers = [lag.output for lag in loop.lags] + [spec.output for spec in loop.buffer_specs]
    return {number: results[loop.stacked.index(number)] for number in numbers}


def certify_values(values: Unknowns, loop: Loop, *arguments: Any, **linearized: Any) -> Certificate:
    """For values that come from anywhere."""
    initial, buffers, per_step, shared = arguments
    equations = receive(loop, initial, buffers, per_step, shared, Stop(), [slice(0, loop.length)])
    return certify(Solution(loop.name, "", loop.length, 0, "converged"), replace(equations, **linearized), values)


def certify_chain(chain: CellChain, results: tuple[Tensor, ...], exact_norms: bool) -> Certificate:
    linearized = {"linear": chain.linear(), "layout": chain.layout} if exact_norms else {}
    return certify_values(carried(chain.loop, results), chain.loop, *chain.arguments, **linearized)


def error(values: Unknowns, truth: Unknowns) -> float:
    gaps = [(value.double() - truth[number]).abs().amax().item() for number, value in values.items()]
    return max(gaps, default=0.0)


@settings(max_examples=40, deadline=None)
@given(
    cell_chains(torch.float32, CELLS, gains=(0.5, 0.9, 1.2, 1.6, 2.0), most=60),
    st.sampled_from(TOLERANCES),
    st.booleans(),
)
# The step reads -1.08 and gives 0.003.
@example(make_chain("gru", 0.9, torch.float32, length=1, batch=1, size=1, seed=0), 0.0, False)
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
    certificate = certify_values(carried(case.loop, results), *arguments_of(case))
    truth = carried(case.loop, double(case).sequential())
    assert (certificate.bound is None) == (not truth)
    assert error(carried(case.loop, results), truth) <= (certificate.bound or 0.0)


def arguments_of(case: Case) -> tuple[Any, ...]:
    return case.loop, case.initial, case.buffers, case.per_step, case.shared


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
    certificate = certify_chain(chain, (values[1], *values.values()), exact_norms)
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
    certificate = certify_values(values, *arguments_of(case))
    if not values:
        assert (certificate.basis, certificate.bound, certificate.bitwise) == ("independent", None, True)
        return
    assert (certificate.basis, certificate.bound, certificate.bitwise) == ("equality", 0.0, True)
    wrong = {number: value + 1 for number, value in values.items()}
    certificate = certify_values(wrong, *arguments_of(case))
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


def test_the_diagonal_alone_says_nothing_of_how_errors_grow() -> None:
    chain = make_chain("tanh", 0.9, torch.float32, length=3, batch=1, size=2, seed=0)
    values = carried(chain.loop, chain.sequential())
    diagonal = {"linear": chain.linear(diagonal=True), "layout": chain.layout}
    assert certify_values(values, chain.loop, *chain.arguments, **diagonal).basis == "disturbance"


# What solvers hand out.


def solve(chain: CellChain, method: str) -> tuple[tuple[Tensor, ...], Certificate]:
    """Solve by a method of which every one has another way to sweep, and certify."""
    length, test = len(chain.x), (1e-6, 1e-6, None)
    whole, parts, start = (0, length), (0, 1, *range(7, length, 13), length), (chain.loop, *chain.arguments)
    by_steps = (chain.loop, chain.linear(), chain.layout, *chain.arguments)
    solvers: dict[str, Callable[[], tuple[Tensor, ...]]] = {
        "jacobi": lambda: jacobi(*start, *test, whole),
        "windows": lambda: jacobi(*start, *test, parts),
        "sliding": lambda: sliding(*start, *test, 16),
        "jacobi_gs": lambda: jacobi_gs(*start, *test, 7),
        "picard": lambda: picard(*start, *test, whole),
        "levels": lambda: levels(*start, length),
        "newton": lambda: newton(*by_steps, *test, whole),
        "newton in windows": lambda: newton(*by_steps, *test, parts),
        "newton by diagonals": lambda: newton(
            chain.loop, chain.linear(True), chain.layout, *chain.arguments, *test, whole
        ),
        "scan": lambda: scan(*by_steps),
    }
    with certificates() as seen:
        results = solvers[method]()
    (certificate,) = seen
    return results, certificate


METHODS = ("jacobi", "windows", "sliding", "jacobi_gs", "picard", "levels", "newton", "newton in windows",
           "newton by diagonals", "scan")  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=15, deadline=None)
@given(chain=cell_chains(torch.float32, ("gru", "affine"), gains=(0.5, 0.9, 1.2), most=60))
def test_every_method_hands_out_a_bound_that_holds(method: str, chain: CellChain) -> None:
    if len(chain.x) < 16 or (method == "scan" and chain.kind != "affine"):
        chain = make_chain("affine", 0.9, torch.float32, length=40, batch=2, size=3, seed=len(chain.x))
    results, certificate = solve(chain, method)
    by_norms = method in ("newton", "newton in windows", "scan") or (method[:3] == "new" and chain.w.shape[1] == 1)
    assert certificate.basis == ("jacobian" if by_norms else "disturbance"), certificate.problem
    assert certificate.bound is not None
    one_by_one, exact = chain.sequential(), chain.double().sequential()
    for truth in (one_by_one, exact):
        assert error(carried(chain.loop, results), carried(chain.loop, truth)) <= certificate.bound
    assert certificate.residual <= certificate.bound
    assert certificate.prefix >= certificate.solution.prefix > 0
    assert certificate.bitwise == (certificate.residual == 0.0)


@settings(max_examples=30, deadline=None)
@given(cases(torch.float32, "tanh", most=10), st.integers(1, 10))
def test_windows_and_chunks_with_buffers_are_certified_as_the_whole_is(case: Case, size: int) -> None:
    case = everything_stacked(case)
    longest = max((lag.distance for lag in case.loop.lags), default=1)
    with certificates() as seen:
        results = [case.swept(), sliding(*arguments_of(case), 0.0, 0.0, None, size)]
        if longest <= size <= case.loop.length:
            results.append(jacobi_gs(*arguments_of(case), 0.0, 0.0, None, size))
    truth = carried(case.loop, double(case).sequential())
    for certificate, result in zip(seen, results, strict=True):
        assert (certificate.bitwise, certificate.prefix) == (True, case.loop.length), certificate
        if truth:
            assert certificate.bound is not None
            assert error(carried(case.loop, result), truth) <= certificate.bound


def test_a_loose_tolerance_is_seen_and_not_exaggerated() -> None:
    chain = make_chain("gru", 0.9, torch.float64, length=300, batch=1, size=3, seed=0)
    with certificates() as seen:
        results = jacobi(chain.loop, *chain.arguments, 1e-4, 0.0, None, (0, 300))
    gap = error(carried(chain.loop, results), carried(chain.loop, chain.sequential()))
    (certificate,) = seen
    assert certificate.bound is not None
    assert 1e-8 < gap <= certificate.bound < 1e-2
    assert certificate.residual < 1e-4
    assert not certificate.bitwise


def test_steps_in_order_are_the_programs_own() -> None:
    chain = make_chain("gru", 0.9, torch.float32, length=30, batch=1, size=3, seed=0)
    with certificates() as seen:
        chain.sequential()
    (certificate,) = seen
    assert (certificate.basis, certificate.bound, certificate.residual) == ("in order", 0.0, 0.0)
    assert (certificate.bitwise, certificate.prefix, certificate.solution.method) == (True, 30, "gauss_seidel")


class Rounded(FusedChunk):
    """Several steps whose results a compiler could have given: the same up to rounding."""

    def __init__(self, body: nn.Module, lags: tuple[LoopLag, ...], backwards: bool, unroll: int) -> None:
        super().__init__(body)
        self.unroll = unroll
        self.lags = lags
        self.backwards = backwards

    def compile_for(self, inputs: tuple[Tensor, ...]) -> Callable[..., Any]:
        return self.run

    def run(self, *values: Tensor) -> None:
        states, (*x, w) = list(values[: len(self.lags)]), values[len(self.lags) :][: self.unroll + 1]
        places = values[len(self.lags) + self.unroll + 1 :]
        for t, row in enumerate(x[::-1] if self.backwards else x):
            outputs = [output * (1 + 1e-7) for output in self.module(*states, row, w)]
            states = [outputs[lag.output] for lag in self.lags]
            for place, output in zip(places[t :: len(x)], outputs, strict=True):
                place.copy_(output)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("length", [3, 5, 64, 65, 300])
def test_compiled_steps_are_measured_by_the_programs_own(length: int, backwards: bool) -> None:
    chain = make_chain("lstm", 0.9, torch.float32, length=length, batch=2, size=3, seed=0)
    chunk = Rounded(chain.loop.body, chain.loop.lags, backwards, 4)
    initial, buffers, (x,), shared = chain.arguments
    x = x.flip(0) if backwards else x
    with certificates() as seen:
        results = fused_gauss_seidel(chain.loop, chunk, 4, initial, buffers, (x,), shared, (0,) if backwards else ())
    (certificate,) = seen
    gap = error(carried(chain.loop, results), carried(chain.loop, chain.sequential()))
    assert certificate.basis == "disturbance", certificate.problem
    assert certificate.bound is not None
    assert gap <= certificate.bound < 1e-3
    assert certificate.bitwise == (length <= 4) == (certificate.prefix == length)
    assert certificate.prefix >= (length - 1) % 4 + 1


def test_nobody_pays_who_does_not_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = make_chain("gru", 0.9, torch.float32, length=30, batch=1, size=3, seed=0)
    calls: list[int] = []
    body = Cell("gru")
    body.register_forward_hook(lambda *_: calls.append(1))
    loop = Loop(body, 30, chain.loop.lags, stacked=chain.loop.stacked)
    with observe() as solutions:
        jacobi(loop, *chain.arguments, 1e-6, 1e-6, None, (0, 30))
    (swept,) = solutions
    assert len(calls) == swept.sweeps
    with certificates(), observe() as solutions:
        jacobi(loop, *chain.arguments, 1e-6, 1e-6, None, (0, 30))
    assert len(calls) > 2 * swept.sweeps
    assert solutions == [swept]


def test_certifying_draws_no_random_numbers_and_tells_no_observer_of_its_sweeps() -> None:
    chain = make_chain("gru", 0.9, torch.float32, length=30, batch=1, size=3, seed=0)
    before = torch.get_rng_state()
    with certificates() as outer, observe() as solutions, certificates() as inner:
        solve(chain, "newton")
        solve(chain, "jacobi_gs")
    assert torch.equal(torch.get_rng_state(), before)
    assert outer == inner
    assert [one.solution for one in outer] == solutions


def test_what_cannot_be_certified_says_why() -> None:
    class Once(nn.Module):
        """Refuses to be evaluated after the solve."""

        calls = 0

        def forward(self, s: Tensor, x: Tensor) -> tuple[Tensor]:
            self.calls += 1
            if self.calls > 2:
                raise RuntimeError("out of memory\nand more")
            return (0 * s + x,)

    x = torch.ones(9, 2)
    loop = Loop(Once(), 9, (LoopLag(0, 1),), stacked=(0,))
    with certificates() as seen:
        (result,) = jacobi(loop, ((x[0],),), (), (x,), (), 0.0, 0.0, None, (0, 9))
    (certificate,) = seen
    assert torch.equal(result, x)
    assert (certificate.basis, certificate.problem) == ("none", "RuntimeError: out of memory")
    assert (certificate.residual, certificate.bound, certificate.bitwise) == (math.inf, None, False)
    assert certificate.prefix == certificate.solution.prefix == 9


def test_a_thread_asks_for_others_until_their_blocks_end() -> None:
    chain = make_chain("affine", 0.5, torch.float32, length=9, batch=1, size=2, seed=0)
    with certificates() as seen:
        theirs = requests()

        def work() -> None:
            chain.sequential()
            with asked_by(theirs), asked_by(theirs):
                chain.sequential()

        run_in_thread(work)
        assert len(seen) == 1
    run_in_thread(work)
    assert len(seen) == 1


def run_in_thread(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
