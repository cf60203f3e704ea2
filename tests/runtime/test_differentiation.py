"""The derivatives of one call: by the emitted pass, by the program run again, or an error that says why not."""

from typing import Any

import pytest
import torch
from torch import Tensor

import fxsolve
from fxsolve.errors import GradientError
from fxsolve.runtime.differentiation import DifferentiatedCall
from fxsolve.runtime.gradients import Differentiable, Gradients, Original
from tests.runtime.building import differentiable, numbers, recurrence, wanted

CLOSE: dict[str, Any] = {"rtol": 1e-11, "atol": 1e-11}


def noisy(x: Tensor) -> Tensor:
    return recurrence(x + torch.randn_like(x))


def fast(program: Any) -> Any:
    return fxsolve.compile(program, schedule="gs", backend="eager")


def test_gradients_can_be_differentiated_again() -> None:
    compiled = fast(recurrence)
    for _ in range(2):
        x = wanted(6, 2)
        found, expected = (
            torch.autograd.grad(torch.autograd.grad(program(x).sum(), x, create_graph=True)[0].square().sum(), x)[0]
            for program in (compiled, recurrence)
        )
        torch.testing.assert_close(found, expected, **CLOSE)
    assert compiled.report().status == "emitted"


def test_a_random_program_has_no_second_derivatives_and_says_so() -> None:
    compiled, x = fast(noisy), wanted(6, 2)
    compiled(x)
    with pytest.raises(GradientError, match="draws random numbers or keeps state: compiled, its gradients cannot be"):
        torch.autograd.grad(compiled(x).sum(), x, create_graph=True)
    assert compiled.report().status == "emitted"


def test_a_random_program_has_first_derivatives_of_the_draws_that_it_made(seed: int) -> None:
    compiled, x = fast(noisy), wanted(6, 2)
    compiled(x)
    found = []
    for program in (compiled, noisy):
        torch.manual_seed(seed)
        found.append(torch.autograd.grad(program(x).sum(), x)[0])
    torch.testing.assert_close(found[0], found[1], **CLOSE)


def test_derivatives_of_one_graph_that_is_kept_are_the_same_each_time() -> None:
    compiled, x = fast(recurrence), wanted(6, 2)
    compiled(x)
    y = compiled(x).sum()
    first = torch.autograd.grad(y, x, retain_graph=True)[0]
    assert torch.equal(torch.autograd.grad(y, x)[0], first)


def test_solves_of_a_backward_pass_are_noted() -> None:
    function, program = differentiable(recurrence, wanted(6, 2))
    with torch.no_grad():
        outputs, saved = function.solve(program.example.inputs, [])
        assert function.learned.solutions == ()
        call_of(function, outputs).derive(Root(saved), (numbers(6, 2),))
    assert [one.method for one in function.learned.solutions] == ["gauss_seidel"]


class Root:
    """Stands for the node that holds what the forward pass saved."""

    def __init__(self, saved: tuple[Tensor, ...]) -> None:
        self.saved_tensors = saved


def call_of(function: Differentiable, returned: tuple[Tensor, ...], x: Tensor | None = None) -> DifferentiatedCall:
    x = wanted(6, 2) if x is None else x
    versions = [one._version for one in (*returned, x)]
    return DifferentiatedCall(function, (x,), Original(recurrence, (x,), {}), returned, list(versions))


@pytest.mark.parametrize("cotangents", [(numbers(6, 2),), (None,)], ids=["given", "none"])
def test_derivatives_of_a_call_are_those_of_autograd(cotangents: Gradients) -> None:
    x = wanted(6, 2)
    function, program = differentiable(recurrence, x)
    with torch.no_grad():
        outputs, saved = function.solve(program.example.inputs, [])
        (found,) = call_of(function, outputs).derive(Root(saved), cotangents).gradients
    if cotangents[0] is None:
        assert found is None
        return
    assert found is not None
    torch.testing.assert_close(found, torch.autograd.grad(recurrence(x), x, cotangents)[0], **CLOSE)


def test_what_came_from_outside_is_the_total_without_what_was_handed_back() -> None:
    function, program = differentiable(recurrence, wanted(6, 2))
    with torch.no_grad():
        outputs, _ = function.solve(program.example.inputs, [])
    call, task, handed = call_of(function, outputs), torch._C._current_graph_task_id(), numbers(6, 2)
    assert call.keep(0, None) is None
    call.handed[task, 0].append(handed)
    assert call.keep(0, handed) is None  # nothing else came
    assert call.collect() == (None,)
    call.handed[task, 0].append(handed)
    own = call.keep(0, handed + 1)
    assert own is not None
    torch.testing.assert_close(own, torch.ones_like(own), **CLOSE)
    assert call.collect()[0] is own
    assert call.collect() == (None,)  # each backward pass has its own


def test_a_program_that_has_changed_since_is_noticed_when_it_runs_again() -> None:
    weight = wanted(2)

    def program(x: Tensor) -> Tensor:
        return recurrence(x * weight)

    compiled, x = fast(program), wanted(6, 2)
    compiled(x)
    y = compiled(x).sum()
    assert compiled.report().status == "emitted"
    with torch.no_grad():
        weight.add_(1)
    with pytest.raises(
        (GradientError, RuntimeError), match=r"modified by an inplace operation|not as it was at its call"
    ):
        torch.autograd.grad(y, x, create_graph=True)
