"""A context variable that holds for a block."""

from contextvars import ContextVar

import pytest

from fxsolve.solvers.context import During


def test_a_value_holds_inside_its_block_and_the_one_around_it_behind() -> None:
    variable = ContextVar("variable", default="nothing")
    with During(variable, "outer"):
        with During(variable, "inner"):
            assert variable.get() == "inner"
        assert variable.get() == "outer"
    assert variable.get() == "nothing"


def test_an_error_ends_the_block_too() -> None:
    variable = ContextVar("variable", default=0)
    with pytest.raises(ZeroDivisionError), During(variable, 1):
        assert 1 / (variable.get() - 1)
    assert variable.get() == 0
