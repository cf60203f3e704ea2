"""A system written by hand is scheduled, solved by every method that fits it, and emitted, without a program."""

import pytest
import torch
from torch import Tensor

from fxsolve.errors import InputError
from fxsolve.ir.evaluate import evaluate
from fxsolve.solvers import fuse
from fxsolve.solvers.solution import observe
from fxsolve.stages import emit_system, schedule_system
from tests.ir.by_hand import ADDS, AFFINE, RNN, SAME, Form, T, values

WHOLE = f"cell[0:{T}]"
ANY = [
    ("gs", "gauss_seidel", WHOLE),
    ("jacobi", "jacobi", f"jacobi({WHOLE})"),
    ("jacobi(cell[0:12:5])", "jacobi", "jacobi(cell[0:12:5])"),
    ("jacobi(cell, window=4)", "sliding", f"jacobi({WHOLE}, window=4)"),
    ("jacobi(gs(cell[0:12:3]))", "jacobi_gs", "jacobi(gs(cell[0:12:3]))"),
    ("jacobi(cell, samples=2)", "jacobi_by_sample", f"jacobi({WHOLE}, samples=2)"),
    ("newton", "newton", f"newton({WHOLE})"),
    ("newton(cell, jacobian=diagonal)", "newton", f"newton({WHOLE}, jacobian=diagonal)"),
    ("picard", "picard", f"picard({WHOLE})"),
    ("levels", "levels", f"levels({WHOLE}, depth={T})"),
    ("fused(cell, unroll=3)", "fused_gauss_seidel", f"fused({WHOLE}, unroll=3)"),
]
CASES = [
    *((RNN, *case) for case in ANY),
    *((AFFINE, *case) for case in ANY),
    (AFFINE, "scan", "scan", f"scan({WHOLE})"),
    (SAME, "gs", "fixed_point", f"fixed_point({WHOLE})"),
    (SAME, "cell", "fixed_point", f"fixed_point({WHOLE})"),
    (SAME, WHOLE, "gauss_seidel", WHOLE),
    (SAME, "jacobi", "jacobi", f"jacobi({WHOLE})"),
    (ADDS, "jacobi", "", f"sum({WHOLE})"),
    (ADDS, "sum(cell)", "", f"sum({WHOLE})"),
    (ADDS, "gs", "gauss_seidel", WHOLE),
]


def expected(form: Form) -> Tensor:
    """In double precision, by the reference evaluator."""
    (result,) = evaluate(form.system(), dict(zip(("x", "w"), (value.double() for value in values()), strict=True)))
    return result


@pytest.mark.parametrize(("form", "text", "method", "planned"), CASES, ids=lambda part: str(part))
def test_every_method_that_fits_solves_it(
    form: Form, text: str, method: str, planned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuse, "compile_graph", lambda module, inputs: module)
    system = form.system()
    decision = schedule_system(system, text)
    assert str(decision.schedule) == f"gs(inputs, weights, {planned}, total)"
    assert decision.notes == ()
    module = emit_system(system, decision)
    with torch.no_grad(), observe() as seen:
        (result,) = module(*values())
    torch.testing.assert_close(result.double(), expected(form), rtol=1e-5, atol=1e-5)
    assert [one.method for one in seen if one.name == "cell"] == ([method] if method else [])


@pytest.mark.parametrize("form", [RNN, AFFINE, SAME, ADDS], ids=str)
def test_the_automatic_choice_measures_on_given_values(form: Form) -> None:
    system = form.system()
    with pytest.raises(InputError, match="give one for each input of the system"):
        schedule_system(system)
    decision = schedule_system(system, values=dict(zip(system.inputs, values(), strict=True)), backend="eager")
    (choice,) = decision.choices
    assert choice.chosen.basis in ("measured", "derived")
    with torch.no_grad():
        (result,) = emit_system(system, decision)(*values())
    torch.testing.assert_close(result.double(), expected(form), rtol=1e-5, atol=1e-5)


MISFITS = [
    (RNN, "scan", "a step is not proved to be affine in what it carries"),
    (RNN, "sum(cell)", "its steps do more than add up"),
    (RNN, "fixed_point(cell)", "its steps are not all the same map of the step before"),
    (RNN, "levels(cell, depth=5)", f"5 sweeps are fewer than the {T} steps that may read one another"),
    (RNN, "jacobi(cell, samples=9)", "cell has 4 samples; batches of 9 are not fewer"),
]


@pytest.mark.parametrize(("form", "text", "reason"), MISFITS)
def test_a_method_that_does_not_fit_leaves_it_in_order_with_the_reason(form: Form, text: str, reason: str) -> None:
    decision = schedule_system(form.system(), text)
    assert str(decision.schedule) == f"gs(inputs, weights, {WHOLE}, total)"
    assert decision.notes == (f"cell runs in order: {reason}",)


def test_no_steps_are_compiled_where_the_backend_compiles_none() -> None:
    decision = schedule_system(RNN.system(), "fused(cell, unroll=3)", backend="eager")
    assert decision.notes == ("cell runs in order: the backend eager compiles no steps",)
