"""Calls of which every kernel gives the same bits: generated code and ATen's kernels agree on them."""

import math

import pytest
import torch
from torch import Tensor, fx

from fxsolve.ops.call import bind
from fxsolve.ops.exact import is_exact
from fxsolve.torch_compat.compilers import compile_around
from fxsolve.torch_compat.operators import OpOverload

aten = torch.ops.aten
# What inductor imports at its first use.
SIZES = (1, 7, 16, 37, 512)


def exact(target: OpOverload, *args: object, dtype: torch.dtype = torch.float32, **kwargs: object) -> bool:
    return is_exact(target, bind(target, args, kwargs, None).arguments, dtype)


@pytest.mark.parametrize(
    ("target", "args"),
    [
        (aten.mm.default, (1, 2)),
        (aten.sum.default, (1,)),
        (aten.tanh.default, (1,)),
        (aten.sqrt.default, (1,)),
        (aten.pow.Tensor_Scalar, (1, 4)),
        (aten.pow.Tensor_Scalar, (1, 0.3)),
        (aten.max.dim, (1, 0)),
        (aten.div.Tensor_mode, (1, 2)),
    ],
    ids=str,
)
def test_calls_that_round_more_than_once_are_not(target: OpOverload, args: tuple[object, ...]) -> None:
    assert not exact(target, *args)


def test_a_factor_beside_a_sum_makes_two_roundings() -> None:
    assert exact(aten.add.Tensor, 1, 2)
    assert not exact(aten.add.Tensor, 1, 2, alpha=3)


def test_narrow_types_are_computed_in_wider_ones() -> None:
    assert not exact(aten.add.Tensor, 1, 2, dtype=torch.bfloat16)
    assert exact(aten.permute.default, 1, [0], dtype=torch.bfloat16)


def calls(graph: fx.Graph, x: fx.Node, y: fx.Node) -> list[fx.Node]:
    """Each of the ops that are exact, of two tensors and of what they give."""
    found: list[fx.Node] = []

    def call(target: OpOverload, *args: object, **kwargs: object) -> fx.Node:
        assert exact(target, *args, **kwargs), target
        found.append(graph.call_function(target, args, kwargs))
        return found[-1]

    for target in (aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor, aten.maximum.default):
        call(target, x, y)
    for target in (aten.lt.Tensor, aten.le.Tensor, aten.eq.Tensor, aten.ne.Tensor, aten.minimum.default):
        call(target, y, x)
    for target in (aten.neg, aten.abs, aten.sign, aten.floor, aten.round, aten.trunc, aten.reciprocal, aten.relu):
        call(target.default, x)
    for target in (aten.max, aten.min, aten.isnan, aten.isinf):
        call(target.default, y)
    below = call(aten.lt.Scalar, x, 0.3)
    call(aten.any.default, below)
    call(aten.all.default, below)
    call(aten.where.self, below, x, y)
    call(aten.clamp.default, x, -0.2, 0.7)
    call(aten.rsub.Scalar, x, 1)
    call(aten.pow.Tensor_Scalar, y, 2)
    cube = call(aten.pow.Tensor_Scalar, x, 3)
    product = call(aten.mul.Tensor, cube, y)
    call(aten.add.Tensor, product, x)  # no multiply-add in one rounding
    largest = call(aten.max.default, call(aten.abs.default, product))
    double = call(aten._to_copy.default, largest, dtype=torch.float64)
    call(aten.lt.Scalar, double, 0.1)
    call(aten.div.Tensor, x, double)
    call(aten.mul.Tensor, x, largest)
    return found


def test_generated_code_gives_the_bits_of_the_kernels() -> None:
    generator = torch.Generator().manual_seed(0)
    special = torch.tensor([0.0, -0.0, math.inf, -math.inf, math.nan, 1e-42, 3e38, 0.5])
    graph, ends, given = fx.Graph(), [], []
    for size in SIZES:
        x, y = (torch.randn(size, generator=generator) * 3 for _ in range(2))
        given += [x, y]
        ends += calls(graph, *(graph.placeholder(f"{name}{size}") for name in "xy"))
    given += [special, special.flip(0)]
    ends += calls(graph, graph.placeholder("x"), graph.placeholder("y"))
    for node in graph.find_nodes(op="placeholder"):
        next(iter(graph.nodes)).prepend(node)
    graph.output(tuple(ends))
    module = fx.GraphModule({}, graph)
    order = [node.target for node in graph.find_nodes(op="placeholder")]
    names = [f"{name}{size}" for size in (*SIZES, "") for name in "xy"]
    inputs = [given[names.index(name)] for name in order]
    with torch.no_grad():
        found = compile_around(module, inputs, frozenset())(*inputs)
        wanted = module(*inputs)
    wrong = [str(node.target) for node, a, b in zip(ends, found, wanted, strict=True) if not same(a, b)]
    assert not wrong


def same(one: Tensor, other: Tensor) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(torch.isnan(one), torch.isnan(other)) and torch.equal(
        one.nan_to_num(0.5) if one.is_floating_point() else one,
        other.nan_to_num(0.5) if other.is_floating_point() else other,
    )


def test_one_tensor_for_two_arguments_is_two_arguments() -> None:
    graph = fx.Graph()
    x, y = graph.placeholder("x"), graph.placeholder("y")
    graph.output((graph.call_function(aten.sub.Tensor, (x, y)),))
    one, other = torch.arange(4.0), torch.ones(4)
    compiled = compile_around(fx.GraphModule({}, graph), [one, one], frozenset())
    assert torch.equal(compiled(one, other)[0], one - other)


def test_what_is_kept_is_called_as_it_is() -> None:
    graph = fx.Graph()
    x, y = graph.placeholder("x"), graph.placeholder("y")
    product = graph.call_function(aten.mv.default, (x, y))
    graph.output(
        (graph.call_function(aten.sum.default, (graph.call_function(aten.tanh.default, (product,)),)), product)
    )
    inputs = [torch.randn(33, 65), torch.randn(65)]
    compiled = compile_around(fx.GraphModule({}, graph), inputs, frozenset({"mv", "tanh", "sum"}))
    total, found = compiled(*inputs)
    assert torch.equal(found, inputs[0] @ inputs[1])
    assert torch.equal(total, torch.tanh(inputs[0] @ inputs[1]).sum())
