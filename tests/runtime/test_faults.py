"""An error is told in one line, with whose it is."""

import pytest
import torch

from fxsolve.plan.text import parse_schedule
from fxsolve.runtime.faults import internal_error, stray_error
from fxsolve.stages import capture, partition
from tests.runtime.building import numbers, recurrence


@torch.no_grad()
def reason(text: str, error: Exception) -> str:
    system = partition(capture(recurrence, numbers(6, 2))).system
    return stray_error(error, parse_schedule(text, system))


def test_only_the_first_line_of_an_error_is_told() -> None:
    text = internal_error("partition", ValueError("too small\n  at line 3"))
    assert text == "internal error in partition: ValueError: too small; please report"


@pytest.mark.parametrize("method", ["jacobi", "newton", "picard"])
def test_an_error_of_sweeps_may_come_from_values_that_the_program_never_has(method: str) -> None:
    text = reason(method, IndexError("index 9 is out of bounds"))
    assert text.startswith("steps that run at once read values on the way to their results that the program never has")
    assert "IndexError: index 9 is out of bounds" in text
    assert text.endswith('schedule="gs" runs the steps in order')


def test_an_error_in_order_is_the_compilers_own() -> None:
    assert reason("gs", IndexError("index 9")) == (
        "internal error in the emitted module: IndexError: index 9; please report"
    )


def test_the_name_of_the_error_is_that_of_its_class() -> None:
    assert "KeyError: 'missing'" in internal_error("emit", KeyError("missing"))
