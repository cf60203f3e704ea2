"""A call of emitted passes looks to autograd like the program: results, hooks, parts of the graph, writes."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from fxsolve.runtime.gradients import Differentiable, Original, Tensors
from fxsolve.runtime.nodes import run
from tests.runtime.building import differentiable, numbers, recurrence, wanted

CLOSE: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-12}


def linked(x: Tensor) -> tuple[Tensor, Tensor]:
    """The second result is computed from the first."""
    h = recurrence(x)
    return h, h.exp().sum(0)


def called(program: Callable[..., Any], *inputs: Tensor) -> Tensors:
    function, _ = differentiable(program, *inputs)
    return again(function, program, *inputs)


def again(function: Differentiable, program: Callable[..., Any], *inputs: Tensor) -> Tensors:
    return run(function, inputs, [], Original(program, inputs, {}))


def test_the_results_are_those_of_the_program_and_lead_to_its_inputs() -> None:
    x = wanted(6, 2)
    for found, expected in zip(called(linked, x), linked(x), strict=True):
        torch.testing.assert_close(found, expected, **CLOSE)
        assert found.requires_grad
        assert not found.is_leaf
        given = torch.ones_like(found)
        (gradient,) = torch.autograd.grad(found, x, given, retain_graph=True)
        torch.testing.assert_close(gradient, torch.autograd.grad(expected, x, given, retain_graph=True)[0], **CLOSE)


def test_what_comes_back_to_a_result_includes_what_others_made_of_it() -> None:
    x, seen = wanted(6, 2), []
    for h, total in (called(linked, x), linked(x)):
        h.register_hook(seen.append)
        h.retain_grad()
        (total.sum() + h.sum()).backward()
        assert h.grad is not None
        assert torch.equal(h.grad, seen[-1])
    torch.testing.assert_close(seen[0], seen[1], **CLOSE)


def test_a_result_may_be_differentiated_by_another_one() -> None:
    x = wanted(6, 2)
    (ours, theirs) = (called(linked, x), linked(x))
    found = [torch.autograd.grad(total.sum(), h)[0] for h, total in (ours, theirs)]
    torch.testing.assert_close(found[0], found[1], **CLOSE)


def test_a_hook_that_changes_a_gradient_changes_what_follows() -> None:
    x, found = wanted(6, 2), []
    for h, total in (called(linked, x), linked(x)):
        h.register_hook(lambda gradient: gradient * 3)
        found += torch.autograd.grad(total.sum() + h.sum(), x)
    torch.testing.assert_close(found[0], found[1], **CLOSE)


def test_two_backward_passes_of_one_call_do_not_mix() -> None:
    x = wanted(6, 2)
    h, total = called(linked, x)
    one = torch.autograd.grad(h.sum(), x, retain_graph=True)[0]
    other = torch.autograd.grad(total.sum(), x, retain_graph=True)[0]
    torch.testing.assert_close(one, torch.autograd.grad(h.sum(), x, retain_graph=True)[0], **CLOSE)
    torch.testing.assert_close(one + other, torch.autograd.grad([h.sum(), total.sum()], x)[0], **CLOSE)


def test_two_calls_do_not_mix() -> None:
    x, y = wanted(6, 2), (numbers(6, 2) * 2).requires_grad_()
    function, _ = differentiable(recurrence, x)
    (one,), (other,) = again(function, recurrence, x), again(function, recurrence, y)
    torch.autograd.backward([one.sum(), other.sum()])
    for leaf in (x, y):
        (expected,) = torch.autograd.grad(recurrence(leaf).sum(), leaf)
        assert leaf.grad is not None
        torch.testing.assert_close(leaf.grad, expected, **CLOSE)


def test_a_graph_is_used_up_by_a_backward_pass() -> None:
    x = wanted(6, 2)
    (h,) = called(recurrence, x)
    h.sum().backward()
    with pytest.raises(RuntimeError, match="second time"):
        h.sum().backward()


def saves_its_result(x: Tensor) -> Tensor:
    return recurrence(x).exp()


def test_a_written_result_runs_the_program_again_for_its_gradients() -> None:
    x = wanted(6, 2)
    function, _ = differentiable(saves_its_result, x)
    (y,) = again(function, saves_its_result, x)
    y.mul_(2)
    (found,) = torch.autograd.grad(y.sum(), x)
    (expected,) = torch.autograd.grad((saves_its_result(x) * 2).sum(), x)
    torch.testing.assert_close(found, expected, **CLOSE)
    assert function.learned.writes
    (y,) = again(function, saves_its_result, x)  # from now on callers get copies
    y.mul_(2)
    torch.testing.assert_close(torch.autograd.grad(y.sum(), x)[0], expected, **CLOSE)


@pytest.mark.parametrize("program", [recurrence, saves_its_result])
def test_a_result_that_is_dropped_is_freed_at_once(program: Callable[..., Any]) -> None:
    outputs = called(program, wanted(6, 2))
    reference = weakref.ref(outputs[0])
    gc.disable()
    try:
        del outputs
        assert reference() is None
    finally:
        gc.enable()
