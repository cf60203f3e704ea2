"""The ways of gradients through autograd's graph, compared with backward passes."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fxsolve.capture.backward.gradient_paths import find_ways

SIZE = 7


class Custom(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> Tensor:
        return cotangent


def leads(result: Tensor, tensor: Tensor) -> bool:
    """Whether autograd finds a gradient; that of a tensor itself is one."""
    return torch.autograd.grad(result, tensor, retain_graph=True, allow_unused=True)[0] is not None


@st.composite
def graphs(draw: st.DrawFn) -> list[Tensor]:
    """Scalars, each a leaf, or the sum of some before it, or a part of an operator with several results."""
    made: list[Tensor] = []
    for _ in range(SIZE):
        before = draw(st.lists(st.sampled_from(made), max_size=2)) if made else []
        kind = draw(st.sampled_from(["sum", "part", "detached sum"]))
        if not before:
            made.append(torch.ones((), requires_grad=True))
        elif kind == "part":
            made.append(torch.stack(before).unbind()[draw(st.integers(0, len(before) - 1))])
        else:
            made.append(sum(before[1:], before[0].exp() if kind == "sum" else made[0] + before[0].detach()))
    return made


@settings(max_examples=60, deadline=None)
@given(graphs(), st.sets(st.integers(0, SIZE - 1), min_size=1), st.sets(st.integers(0, SIZE - 1), max_size=2))
def test_a_result_leads_to_a_tensor_where_autograd_finds_a_gradient(
    made: list[Tensor], numbers: set[int], wanted: set[int]
) -> None:
    results = [made[number] for number in sorted(numbers)]
    tensors = [made[number] for number in sorted(wanted) if made[number].is_leaf]
    ways = find_ways(results, tensors)
    for tensor, found in zip(tensors, ways.tensors, strict=True):
        assert found == {k for k, result in enumerate(results) if leads(result, tensor)}
    for number, (one, found) in enumerate(zip(results, ways.results, strict=True)):
        assert found == {k for k, other in enumerate(results) if k != number and leads(other, one)}
    assert not ways.is_custom


def test_ways_end_at_the_tensors_that_are_asked_for() -> None:
    a = torch.ones((), requires_grad=True)
    b = a * 2
    ways = find_ways([b * 3], [a, b])
    assert ways.tensors == (frozenset(), frozenset({0}))


def test_of_an_operator_with_several_results_each_is_told_apart() -> None:
    first, second = (torch.ones(2, requires_grad=True) * 1).unbind()
    ways = find_ways([first, second, first + 1], [])
    assert ways.results == (frozenset({2}), frozenset(), frozenset())


@pytest.mark.parametrize("is_behind", [False, True])
def test_a_custom_function_on_the_way_is_noticed_and_one_behind_the_end_is_not(is_behind: bool) -> None:
    a = torch.ones((), requires_grad=True)
    b = Custom.apply(a) * 2
    assert find_ways([b + 1], [b if is_behind else a]).is_custom != is_behind
