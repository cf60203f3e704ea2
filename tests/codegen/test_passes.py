"""A program and its backward pass as two modules, for all cotangents and for some."""

import pytest
import torch
from torch import Tensor

from fxsolve.capture.program import Program
from fxsolve.codegen.emit import emit
from fxsolve.codegen.equations import Plan
from fxsolve.codegen.passes import EmittedPasses, emit_passes
from fxsolve.errors import InputError
from fxsolve.loops.partition import partition
from fxsolve.plan.text import parse_schedule
from fxsolve.stages import capture
from tests.loops.small import N, T, numbers, trained

X, W = numbers(T, N), numbers(N, N)


def emitted() -> tuple[Program, EmittedPasses]:
    program = capture(trained, X, W.clone().requires_grad_())
    system = partition(program).system
    return program, emit_passes(program, system, Plan(parse_schedule("gs", system)))


def saved_by(program: Program, passes: EmittedPasses) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    with torch.no_grad():
        outputs = passes.forward.module(*program.example.inputs)
    return outputs[: passes.results], outputs[passes.results : passes.results + passes.saved]


def gradient(cotangents: list[Tensor | None]) -> Tensor:
    """That of the weights, by autograd."""
    w = W.clone().requires_grad_()
    pairs = [(out, given) for out, given in zip(trained(X, w), cotangents, strict=True) if given is not None]
    (found,) = torch.autograd.grad([out for out, _ in pairs], w, [given for _, given in pairs])
    return found


def test_the_two_modules_give_the_results_and_the_gradients() -> None:
    program, passes = emitted()
    results, saved = saved_by(program, passes)
    for found, wanted in zip(results, trained(X, W), strict=True):
        assert torch.equal(found, wanted)
    given = [torch.randn_like(result) for result in results]
    (found,) = passes.backward(*saved, *given)
    torch.testing.assert_close(found, gradient([*given]))


def test_without_a_cotangent_the_gradients_are_those_of_the_others() -> None:
    program, passes = emitted()
    results, saved = saved_by(program, passes)
    for present in range(len(results)):
        given: list[Tensor | None] = [None] * len(results)
        given[present] = torch.randn_like(results[present])
        part = passes.backward_for(frozenset({present}))
        (found,) = part.backward(*saved, given[present])
        assert part.left == (0,)
        torch.testing.assert_close(found, gradient(given))
        assert passes.backward_for(frozenset({present})) is part  # emitted once


def test_without_any_cotangent_no_gradient_is_left() -> None:
    _, passes = emitted()
    assert passes.backward_for(frozenset()).left == ()


def test_a_program_with_its_backward_pass_is_no_single_module() -> None:
    program = capture(trained, X, W.clone().requires_grad_())
    system = partition(program).system
    with pytest.raises(InputError, match=r"fxsolve\.stages\.emit_passes"):
        emit(program, system, Plan(parse_schedule("gs", system)))
