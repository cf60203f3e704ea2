import math
from dataclasses import replace

import pytest

from fxsolve.report.certified import SUM_TEXT, error_text, solution_text
from fxsolve.report.text import report_text
from fxsolve.solvers.certificate import Basis, Certificate
from fxsolve.solvers.solution import Solution
from tests.report.samples import CHUNKS, GRU

SWEPT = Certificate(Solution("cell", "jacobi", 64, 9, "converged", 1e-7, 9), 2e-8, False, 12, 3e-6, "disturbance")
EXACT = Certificate(Solution("cell", "jacobi", 64, 11, "exact", 0.0, 64), 0.0, True, 64, 1e-6, "disturbance")


def test_the_report_says_of_each_loop_how_it_was_solved_and_how_far_off_it_may_be() -> None:
    text = report_text(GRU, width=140)
    assert "solution: 13 sweeps on the recorded inputs, residual 5.9e-08, not bitwise, 40 of 4,096 steps exact" in text
    assert "error:    at most 3.2e-06, by what became of a small disturbance" in text
    text = report_text(CHUNKS, width=140)
    assert "solution: 28 sweeps on the recorded inputs, residual 0, bitwise, 784 of 784 steps exact" in text
    assert "error:    none, no step changes a bit of it" in text


def test_a_loop_that_only_adds_up_has_the_bound_of_its_sums() -> None:
    loops = (replace(GRU.loops[0], sums=True),)
    text = report_text(replace(GRU, loops=loops, certificates=()), width=140)
    assert f"error:    {SUM_TEXT}" in text
    assert "solution:" not in text


def test_without_certificates_nothing_is_said() -> None:
    assert (solution_text([]), error_text([])) == ("", "")
    text = report_text(replace(GRU, certificates=()))
    assert "solution:" not in text
    assert "error:" not in text


def test_of_several_solves_the_worst_counts() -> None:
    assert solution_text([SWEPT, EXACT]) == (
        "2 solves of 9-11 sweeps on the recorded inputs, residual 2.0e-08, not bitwise, 76 of 128 steps exact"
    )
    assert error_text([SWEPT, EXACT]) == "at most 3.0e-06, by what became of a small disturbance"
    lost = replace(EXACT, basis="none", bound=None, problem="RuntimeError: no memory")
    assert error_text([SWEPT, lost, EXACT]) == "unknown: RuntimeError: no memory"


@pytest.mark.parametrize(
    ("basis", "bound", "words"),
    [
        ("in order", 0.0, "none, the program's own steps ran"),
        ("in order", None, "the steps solve loops, which have their own"),
        ("independent", None, "that of one step, batched; no step reads another"),
        ("equality", math.inf, "no bound: it may be as large as the values"),
        ("jacobian", math.inf, "no bound: it may be as large as the values"),
        ("jacobian", 2e-6, "at most 2.0e-06, by the norms of the Jacobians"),
    ],
)
def test_a_bound_is_told_with_what_it_rests_on(basis: Basis, bound: float | None, words: str) -> None:
    assert error_text([replace(SWEPT, basis=basis, bound=bound)]) == words
