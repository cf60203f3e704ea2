"""What is parsed is what stands there; nothing is filled in, and a wrong name is met with the nearest one."""

import pytest

from fxsolve.errors import ScheduleError
from fxsolve.ir.spec import System
from fxsolve.plan.method import Chunks, Steps
from fxsolve.plan.methods import METHODS
from fxsolve.plan.methods.jacobi import Jacobi
from fxsolve.plan.parse import parse
from fxsolve.plan.schedule import Apply, GaussSeidel
from fxsolve.solvers.stop import Stop
from tests.ir.by_hand import RNN, T


@pytest.fixture
def system() -> System:
    return RNN.system()


def test_each_form_of_the_text_is_its_node(system: System) -> None:
    name = system.repeats[0].name
    whole = Steps(name, 0, T)
    for text, node in (
        ("inputs", Apply("inputs")),
        (f"{name}[0:{T}]", whole),
        (f"jacobi({name})", Jacobi(whole)),
        (f"jacobi({name}, atol=0.5)", Jacobi(whole, Stop(0.5, 0.0))),
        (f"jacobi(gs({name}[0:{T}:5]))", Jacobi(Chunks(whole, 5))),
        (f"gs(inputs, {name}[2:4])", GaussSeidel((Apply("inputs"), Steps(name, 2, 4)))),
        (f"gs(jacobi({name}[0:{T}:8]))", GaussSeidel((Jacobi(Steps(name, 0, 8)), Jacobi(Steps(name, 8, T))))),
    ):
        assert parse(text, system, METHODS) == node, text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("jacobi(inputs)", "inputs is a block and has no steps to sweep"),
        ("inptus", r"there is no equation 'inptus'; did you mean 'inputs'\?"),
        ("gs(inputs", r"expected ',' or '\)', found the end"),
        ("inputs inputs", "expected the end, found inputs"),
        ("jacobi({name}[3:3])", r"steps 3:3 are not inside 0:12 of"),
        ("jacobi({name}, atol=1, atol=2)", "each once, found atol"),
    ],
)
def test_a_slip_is_named(system: System, text: str, reason: str) -> None:
    with pytest.raises(ScheduleError, match=reason):
        parse(text.format(name=system.repeats[0].name), system, METHODS)


def test_only_the_methods_that_are_given_have_names(system: System) -> None:
    with pytest.raises(ScheduleError, match="there is no equation 'jacobi'"):
        parse(f"jacobi({system.repeats[0].name})", system, ())
