"""Certificates of whole compiled programs: on request, with every answer, and in the report."""

import copy
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.plan.decision import Decision
from fxsolve.plan.text import parse_schedule
from fxsolve.report.from_json import from_json
from fxsolve.report.html import to_html
from fxsolve.report.to_json import to_json
from fxsolve.solvers.certificate import Certificate
from fxsolve.solvers.loop import Loop
from tests.plan.recurrences import B, N, affine, gru, loop_over, weights

T = 40
GRU, AFFINE = loop_over(gru), loop_over(affine)

Program = Callable[..., Any]


def inputs(dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    x = torch.randn(T, B, N, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (x.to(dtype), *(w.to(dtype) for w in weights(torch.float64)))


def warmed(program: Program, schedule: str, *args: Tensor, **options: Any) -> Any:
    fast = fxsolve.compile(program, schedule=schedule, backend="eager", **options)
    fast(*args)
    return fast


def of_loop(seen: list[Certificate], name: str = "loop0") -> Certificate:
    (certificate,) = [one for one in seen if one.solution.name == name]
    assert not certificate.problem
    return certificate


METHODS = [
    ("jacobi(loop0)", "jacobi", "disturbance"),
    ("gs(jacobi(loop0[0:40:15]))", "jacobi", "disturbance"),
    ("jacobi(loop0, window=8)", "sliding", "disturbance"),
    ("jacobi(gs(loop0[0:40:6]))", "jacobi_gs", "disturbance"),
    ("jacobi(loop0, samples=2)", "jacobi_by_sample", "disturbance"),
    ("newton(loop0)", "newton", "jacobian"),
    ("gs(loop0[0:3], newton(loop0[3:40]))", "newton", "jacobian"),
    ("newton(loop0, jacobian=diagonal)", "newton", "disturbance"),
    ("picard(loop0)", "picard", "disturbance"),
    ("levels(loop0)", "levels", "disturbance"),
    ("scan(loop0)", "scan", "jacobian"),
]


@pytest.mark.parametrize(("schedule", "method", "basis"), METHODS, ids=[text for text, *_ in METHODS])
def test_the_bound_of_every_method_holds_against_float64(schedule: str, method: str, basis: str) -> None:
    program = AFFINE if method == "scan" else GRU
    args = inputs()
    with torch.no_grad():
        fast = warmed(program, schedule, *args)
        with fxsolve.certificates() as seen:
            result = fast(*args)
        one_by_one, exact = program(*args), program(*inputs(torch.float64))
    certificate = of_loop(seen)
    assert (certificate.solution.method, certificate.basis) == (method, basis)
    assert certificate.bound is not None
    assert (result - one_by_one).abs().max() <= certificate.bound
    assert (result - exact).abs().max() <= certificate.bound < 1e-3
    assert certificate.residual <= certificate.bound
    assert certificate.bitwise == (certificate.residual == 0.0)
    assert certificate.prefix >= certificate.solution.prefix > 0


@pytest.mark.parametrize("schedule", ["jacobi", "newton", "scan"])
def test_forward_and_backward_passes_are_certified_alike(schedule: str) -> None:
    program = AFFINE if schedule == "scan" else GRU

    def gradients(run: Program, dtype: torch.dtype) -> tuple[Tensor, ...]:
        args = [value.requires_grad_() for value in inputs(dtype)]
        return torch.autograd.grad(run(*args).square().sum(), args)

    fast = warmed(program, schedule, *(value.requires_grad_() for value in inputs()))
    with fxsolve.certificates() as seen:
        found = gradients(fast, torch.float32)
    backward = [loop.name for loop in fast.report().loops if loop.backward and not loop.sums]
    assert {one.solution.name for one in seen} >= {"loop0", *backward}
    (reverse,) = [one for one in seen if one.solution.name in backward and one.basis != "independent"]
    assert reverse.solution.method == schedule
    assert reverse.bound is not None
    # What the reverse loop carries is the gradient of the states, and so, but for a factor, that of the inputs.
    exact = gradients(program, torch.float64)[0]
    assert (found[0] - exact).abs().max() <= 4 * reverse.bound < 1.0


def test_a_backward_pass_in_a_thread_of_its_own_is_certified_too() -> None:
    fast = warmed(GRU, "newton", *(value.requires_grad_() for value in inputs()))
    with fxsolve.certificates() as seen:
        loss = fast(*(value.requires_grad_() for value in inputs())).sum()
        before = len(seen)
        run_in_thread(loss.backward)
        assert len(seen) > before
        loss = fast(*(value.requires_grad_() for value in inputs())).sum()
    after = len(seen)
    run_in_thread(loss.backward)
    assert len(seen) == after


def run_in_thread(work: Callable[[], Any]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_a_loose_tolerance_has_a_bound_that_shows_it_and_is_not_absurd() -> None:
    args = inputs(torch.float64)
    with torch.no_grad():
        fast = warmed(GRU, "jacobi(loop0, atol=1e-4, rtol=0)", *args)
        with fxsolve.certificates() as seen:
            error = (fast(*args) - GRU(*args)).abs().max()
    bound = of_loop(seen).bound
    assert bound is not None
    assert 1e-9 < error <= bound < 1e-2


def test_steps_in_order_are_the_programs_own_bit_for_bit() -> None:
    args = inputs()
    with torch.no_grad():
        fast = warmed(GRU, "gs", *args)
        with fxsolve.certificates() as seen:
            assert torch.equal(fast(*args), GRU(*args))
    certificate = of_loop(seen)
    assert (certificate.basis, certificate.bound, certificate.residual) == ("in order", 0.0, 0.0)
    assert (certificate.bitwise, certificate.prefix) == (True, T)


def test_a_loop_that_settles_is_right_as_soon_as_it_does() -> None:
    def program(x: Tensor) -> Tensor:
        for _ in range(200):
            x = torch.cos(x)
        return x

    fast = warmed(program, "gs", torch.ones(3))
    with fxsolve.certificates() as seen:
        assert torch.equal(fast(torch.ones(3)), program(torch.ones(3)))
    certificate = of_loop(seen)
    assert (certificate.basis, certificate.bound, certificate.bitwise) == ("equality", 0.0, True)
    assert certificate.solution.sweeps < 200 == certificate.prefix


def test_compiled_steps_are_measured_by_the_programs_own() -> None:
    args = inputs()
    with torch.no_grad():
        program = fxsolve.capture(GRU, *args)
        parts = fxsolve.partition(program)
        decision = Decision(parse_schedule("fused(loop0, unroll=4)", parts.system))
        module = fxsolve.emit(program, parts, decision).module
        with fxsolve.certificates() as seen:
            (result,) = module(*args)
        one_by_one, exact = GRU(*args), GRU(*inputs(torch.float64))
    certificate = of_loop(seen)
    assert (certificate.solution.method, certificate.basis) == ("fused_gauss_seidel", "disturbance")
    assert certificate.bound is not None
    assert (result - one_by_one).abs().max() <= certificate.bound
    assert (result - exact).abs().max() <= certificate.bound < 1e-4
    assert certificate.residual < 1e-6
    assert certificate.bitwise == torch.equal(result, one_by_one) == (certificate.prefix == T)


def test_discrete_states_are_right_or_not() -> None:
    def program(x: Tensor) -> Tensor:
        state = torch.zeros_like(x[0])
        for x_t in x.unbind(0):
            state = (state * 3 + x_t) % 17
        return state

    x = torch.arange(T * 4).reshape(T, 4) % 13
    fast = warmed(program, "jacobi", x)
    with fxsolve.certificates() as seen:
        assert torch.equal(fast(x), program(x))
    certificate = of_loop(seen)
    assert (certificate.basis, certificate.bound, certificate.bitwise) == ("equality", 0.0, True)


def test_steps_that_do_not_read_one_another_carry_no_error() -> None:
    def program(x: Tensor, w: Tensor) -> Tensor:
        return torch.stack([torch.tanh(x_t @ w) for x_t in x.unbind(0)])

    args = inputs()[:2]
    fast = warmed(program, "jacobi", *args)
    with fxsolve.certificates() as seen:
        fast(*args)
    certificate = of_loop(seen)
    assert (certificate.basis, certificate.bound, certificate.residual) == ("independent", None, 0.0)


def test_nobody_pays_who_does_not_ask() -> None:
    args = inputs()
    with torch.no_grad():
        fast = warmed(GRU, "jacobi", *args)
        (loop,) = [one for one in fast.graph_module.modules() if isinstance(one, Loop) and one.lags]
        calls: list[int] = []
        loop.body.register_forward_hook(lambda *_: calls.append(1))
        fast(*args)
        (run,) = [one for one in fast.report().runs if one.loop == "loop0"]
        assert len(calls) == run.sweeps
        with fxsolve.certificates():
            fast(*args)
    assert len(calls) > 2 * run.sweeps


def test_asking_changes_no_result_no_sample_and_no_run() -> None:
    def program(x: Tensor) -> Tensor:
        for _ in range(T):
            x = torch.sin(x + torch.randn_like(x))
        return x

    x = torch.ones(4, 3)
    fast = warmed(program, "jacobi", x)
    torch.manual_seed(3)
    plain, drawn, runs = fast(x), torch.rand(()), fast.report().runs
    torch.manual_seed(3)
    with fxsolve.certificates() as seen:
        certified = fast(x)
    assert torch.equal(certified, plain)
    assert torch.rand(()) == drawn
    assert fast.report().runs == runs
    assert of_loop(seen).bound is not None


def test_a_call_that_is_recorded_gets_the_certificates_of_the_check() -> None:
    args = inputs()
    with torch.no_grad(), fxsolve.certificates() as seen:
        fast = fxsolve.compile(GRU, schedule="jacobi", backend="eager")
        fast(*args)
        assert tuple(seen) == fast.report().certificates
        fast(*args)
    assert [one.solution.name for one in seen] == [one.solution.name for one in fast.report().certificates] * 2


def test_a_program_that_is_left_alone_has_no_certificates() -> None:
    with fxsolve.certificates() as seen:
        fast = fxsolve.compile(torch.sin)
        fast(torch.ones(3))
        fast(torch.ones(3))
    assert seen == []
    assert fast.report().certificates == ()


def test_the_report_has_a_certificate_for_each_loop_from_the_first_call_on() -> None:
    args = inputs()
    with torch.no_grad():
        fast = warmed(GRU, "jacobi", *args)
        report = fast.report()
        fast(2 * args[0], *args[1:])
    (certificate,) = [one for one in report.certificates if one.solution.name == "loop0"]
    assert certificate.basis == "disturbance"
    assert fast.report().certificates == report.certificates
    for text in (str(report), to_html(report)):
        assert f"{certificate.solution.sweeps} sweeps on the recorded inputs, residual" in text
        assert f"at most {certificate.bound:.1e}" in text
    assert from_json(to_json(report)) == report
    (entry,) = [one for one in json.loads(to_json(report))["certificates"] if one["solution"]["name"] == "loop0"]
    assert (entry["bound"], entry["basis"]) == (certificate.bound, "disturbance")


def test_the_report_of_a_training_step_certifies_its_backward_pass() -> None:
    fast = warmed(GRU, "newton", *(value.requires_grad_() for value in inputs()))
    report = fast.report()
    certified = {one.solution.name for one in report.certificates}
    assert certified >= {loop.name for loop in report.loops if not loop.sums}
    sums = [loop.name for loop in report.loops if loop.sums]
    assert sums
    assert "at most n eps sum |a b|" in str(report)


class Inner(nn.Module):
    """Rows of a picture, each a recurrence of its own."""

    def forward(self, x: Tensor) -> Tensor:
        state = torch.zeros_like(x[0, 0])
        rows = []
        for row in x.unbind(0):
            for value in row.unbind(0):
                state = torch.tanh(0.5 * state + value)
            rows.append(state)
        return torch.stack(rows)


def test_every_solve_of_a_loop_inside_another_has_its_own() -> None:
    x = torch.randn(6, 9, 4)
    with torch.no_grad():
        fast = warmed(Inner(), "gs", x)
        if len(fast.report().loops) < 2:
            pytest.skip(f"not rolled in two levels: {fast.schedule}")
        with fxsolve.certificates() as seen:
            fast(x)
    inner = [one for one in seen if one.solution.name == fast.report().loops[1].name]
    assert len(inner) == 6
    assert {one.bound for one in inner} == {0.0}
    outer = of_loop(seen, fast.report().loops[0].name)
    assert (outer.basis, outer.bound) == ("in order", None)


def test_an_emitted_module_is_certified_where_it_runs_alone() -> None:
    args = inputs()
    program = fxsolve.capture(GRU, *args)
    parts = fxsolve.partition(program)
    decision = fxsolve.schedule(program, parts, "jacobi", backend="eager")
    module = copy.deepcopy(fxsolve.emit(program, parts, decision).module)
    with fxsolve.certificates() as seen:
        module(*args)
    assert of_loop(seen).basis == "disturbance"
