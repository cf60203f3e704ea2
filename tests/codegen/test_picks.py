"""Steps that are picked out of a stack one by one: the same values, in one call where they are many."""

import pytest
import torch
from torch import Tensor, fx

from fxsolve.codegen.values import take_apart

LENGTH = 5


def picker(steps: list[int], dim: int) -> fx.GraphModule:
    def pick(stack: Tensor) -> tuple[Tensor, ...]:
        return (*(torch.select(stack, dim, t) for t in steps), stack.sum())

    return fx.symbolic_trace(pick)


@pytest.mark.parametrize(
    ("steps", "dim", "unbinds"),
    [([4, 0, 2], 0, 1), ([0, -1, 1, 1], 0, 1), ([0, 1], 0, 0), ([0, 1, 2, 3, 4], 1, 0)],
    ids=["most", "some twice", "few", "another dimension"],
)
def test_most_steps_of_a_stack_are_taken_in_one_call(steps: list[int], dim: int, unbinds: int) -> None:
    module = picker(steps, dim)
    stack = torch.randn(LENGTH, LENGTH)
    expected = module(stack)
    take_apart(next(iter(module.graph.nodes)), LENGTH)
    module.graph.lint()
    module.recompile()
    assert all(map(torch.equal, module(stack), expected))
    assert module.code.count("torch.unbind(") == unbinds
    assert ("torch.select(" in module.code) == (not unbinds)
