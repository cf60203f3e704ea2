"""What a second backward pass brings to results: through the rerun as through the program's own graph."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import fxsolve
from fxsolve.runtime.reruns import lead
from tests.runtime.building import wanted

Program = Callable[[Tensor], Any]


def cube(x: Tensor) -> Tensor:
    return x**3


def states(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """States, the last of them, and what was computed from it: results that lead to results."""
    h, found = torch.zeros(2, dtype=torch.float64), []
    for row in x:
        h = torch.tanh(row + 0.9 * h)
        found.append(h)
    return torch.stack(found), h, h.exp()


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("passes", [1, 2])
def test_results_retain_the_whole_gradient_of_a_second_pass(direct: bool, passes: int) -> None:
    compiled = fxsolve.compile(states, schedule="gs", backend="eager")
    for _ in range(2):
        x, found = wanted(8, 2), []
        for program in (compiled, states):
            leaf = x.detach().requires_grad_()
            results = program(leaf)
            for one in results:
                one.retain_grad()
            cubes, sines = (torch.stack([f(one).sum() for one in results]).sum() for f in (cube, torch.sin))
            (gradient,) = torch.autograd.grad(cubes, leaf, create_graph=True)
            loss = gradient.square().sum() + direct * sines
            for number in range(passes):
                loss.backward(retain_graph=number + 1 < passes)
            found.append([one.grad for one in results] + [leaf.grad])
        torch.testing.assert_close(*found, rtol=1e-10, atol=1e-12)
    assert compiled.report().status == "emitted"


def first_and_second(program: Program, wanted_of: Callable[[Tensor, Any], list[Tensor]]) -> list[Tensor]:
    """What `autograd.grad` finds of the gradient of cubes, and of results themselves."""
    leaf = wanted(8, 2)
    results = program(leaf)
    (gradient,) = torch.autograd.grad(torch.stack([cube(one).sum() for one in results]).sum(), leaf, create_graph=True)
    loss = gradient.square().sum() + results[1].sin().sum()
    return [*torch.autograd.grad(loss, wanted_of(leaf, results))]


@pytest.mark.parametrize("places", [[0], [1], [2], [1, 2], [0, 1, 2, 3], [3]])
def test_parts_of_results_alone_are_found(places: list[int]) -> None:
    compiled = fxsolve.compile(states, schedule="gs", backend="eager")
    for _ in range(2):
        ours, own = (
            first_and_second(one, lambda leaf, results: [[*results, leaf][k] for k in places])
            for one in (compiled, states)
        )
        torch.testing.assert_close(ours, own, rtol=1e-10, atol=1e-12)
    assert compiled.report().status == "emitted"


@pytest.mark.parametrize("order", [2, 3, 4])
def test_derivatives_of_any_order_are_the_programs(order: int) -> None:
    compiled, found = fxsolve.compile(states, schedule="gs", backend="eager"), []
    compiled(wanted(8, 2))
    for program in (compiled, states):
        leaf = wanted(8, 2)
        stack, last, after = program(leaf)
        value, parts = cube(stack).sum() + cube(last).sum() + after.sum(), []
        for _ in range(order):
            *parts, gradient = torch.autograd.grad(value, [stack, last, after, leaf], create_graph=True)
            value = (
                gradient.square().sum()
                + cube(last).sum()
                + torch.stack([one.sum() for one in parts]).sum() * after.sum()
            )
        found.append([*parts, gradient])
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-12)


def test_a_hook_on_a_result_sees_the_whole_gradient_of_a_second_pass() -> None:
    compiled, seen = fxsolve.compile(states, schedule="gs", backend="eager"), list[Tensor]()
    compiled(wanted(8, 2))
    for program in (compiled, states):
        leaf = wanted(8, 2)
        _, last, _ = program(leaf)
        last.register_hook(seen.append)
        (gradient,) = torch.autograd.grad(cube(last).sum(), leaf, create_graph=True)
        gradient.square().sum().backward()
    torch.testing.assert_close(seen[:2], seen[2:], rtol=1e-10, atol=1e-12)


def test_cotangents_have_their_part() -> None:
    compiled, found = fxsolve.compile(states, schedule="gs", backend="eager"), []
    compiled(wanted(8, 2))
    for program in (compiled, states):
        leaf, weight = wanted(8, 2), torch.ones(2, dtype=torch.float64, requires_grad=True)
        _, last, _ = program(leaf)
        (gradient,) = torch.autograd.grad(last, leaf, weight, create_graph=True)
        found.append(torch.autograd.grad(gradient.square().sum(), [weight, leaf]))
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-12)


def test_derivatives_end_at_what_stands_in_the_place_of_others() -> None:
    x = wanted(3)
    like, other = (x.sin() * 2).chunk(3)[:2]  # one node has both
    (gradient,) = torch.autograd.grad((like**3 + other**3).sum(), x, create_graph=True)
    result = like.detach().requires_grad_()
    led, none = lead((gradient, None), [(like, result), (x, x)])
    assert none is None
    assert led is not None
    whole = torch.autograd.grad(gradient.sum(), x, retain_graph=True)[0]
    of_like, of_x = torch.autograd.grad(led.sum(), [result, x])
    torch.testing.assert_close(of_like, 6 * like * 2 * x[:1].cos())
    torch.testing.assert_close(whole - of_x, torch.cat([of_like * 2 * x[:1].cos(), torch.zeros(2, dtype=x.dtype)]))


def test_results_that_are_gone_or_were_written_into_leave_their_part_to_the_inputs() -> None:
    compiled, found = fxsolve.compile(states, schedule="gs", backend="eager"), []
    compiled(wanted(8, 2))
    for program in (compiled, states):
        leaf = wanted(8, 2)
        stack, last, after = program(leaf)
        (gradient,) = torch.autograd.grad(cube(last).sum() + stack.square().sum(), leaf, create_graph=True)
        del last, after
        found.append(torch.autograd.grad(gradient.square().sum(), leaf))
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-12)
