"""What was decided, in a form that files hand on."""

from dataclasses import asdict, replace
from typing import Any

import pytest

from fxsolve.runtime.verdict import Measured, Verdict, read_verdict, sweeps_of
from fxsolve.solvers.certificate import Certificate
from fxsolve.solvers.solution import Solution

VERDICT = Verdict("gs(jacobi(cell))", 1e-6, measured=Measured(0.5, 0.25, 0.1, 3.0, True, 12, True))


def test_a_verdict_comes_back_from_a_dictionary() -> None:
    assert read_verdict(asdict(VERDICT)) == VERDICT
    alone = Verdict("", None, "slower", measured=Measured())
    assert read_verdict(asdict(alone)) == alone


def test_who_decided_is_for_the_reader_to_say() -> None:
    assert read_verdict(asdict(replace(VERDICT, by="a plan"))).by == ""
    assert replace(VERDICT, by="a plan").note == "decided by a plan"
    assert VERDICT.note == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"measured": None}, "there is no verdict"),
        ({"schedule": ""}, "nothing is decided"),
        ({"schedule": "gs\x1b[31m"}, "a text is"),
        ({"schedule": "g" * (1 << 17)}, "a text is"),
        ({"tolerance": -1.0}, "a number is"),
        ({"tolerance": float("inf")}, "a number is"),
        ({"tolerance": True}, "a number is"),
        ({"reason": 3}, "a text is"),
    ],
)
def test_anything_else_is_no_verdict(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_verdict({**asdict(VERDICT), **changes})


@pytest.mark.parametrize("data", [None, [], "gs", 3])
def test_what_is_no_dictionary_is_no_verdict(data: Any) -> None:
    with pytest.raises(ValueError, match="there is no verdict"):
        read_verdict(data)


def test_sweeps_are_counted_of_solves_that_had_to_settle() -> None:
    statuses = (("fixed point", 3), ("exact", 4), ("sequential", 100), ("converged", 5))
    solutions = [Solution("a", "jacobi", 9, sweeps, status, 0.0, 9) for status, sweeps in statuses]  # pyright: ignore
    assert sweeps_of(Certificate(one, 0.0, True, 9, 0.0, "equality") for one in solutions) == 12
