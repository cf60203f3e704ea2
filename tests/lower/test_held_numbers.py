"""Numbers of a step that are held as tensors: the same bits, and only where a tensor may stand for a number."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, fx

import fxsolve
from fxsolve.ir.tensor_spec import spec_of
from fxsolve.lower.held_numbers import held_table, hold_numbers
from fxsolve.lower.readable import readable

aten = torch.ops.aten
CALLS: tuple[Callable[..., Any], ...] = (
    aten.add.Tensor,
    aten.sub.Tensor,
    aten.mul.Tensor,
    aten.div.Tensor,
    aten.rsub.Scalar,
    aten.lt.Scalar,
    aten.le.Scalar,
    aten.gt.Scalar,
    aten.ge.Scalar,
    aten.eq.Scalar,
    aten.ne.Scalar,
)
SPECIAL = [0.0, -0.0, 1.0, 0.1, -0.1, 1e-40, 1e38, math.inf, -math.inf, math.nan, 2.0**24 + 1, 3e-45]
numbers = st.one_of(
    st.sampled_from(SPECIAL), st.integers(-(2**26), 2**26), st.floats(allow_nan=False), st.floats(-10, 10)
)


def step(target: Any, x: Tensor, number: Any, **kwargs: Any) -> fx.GraphModule:
    graph = fx.Graph()
    node = graph.placeholder("x")
    node.meta["spec"] = spec_of(x)
    made = graph.call_function(target, (node, number), kwargs)
    graph.output((made,))
    return fx.GraphModule({}, graph)


def held_in(module: fx.GraphModule) -> list[str]:
    return [str(node.target) for node in module.graph.nodes if node.op == "get_attr"]


@given(
    st.sampled_from(CALLS), numbers, st.sampled_from([torch.float32, torch.float64]), st.sampled_from([(), (7,), (0,)])
)
def test_a_held_number_gives_the_same_bits(
    target: Any, number: Any, dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    x = torch.tensor([*SPECIAL[:6], 3.0], dtype=dtype)[: math.prod(shape)].reshape(shape)
    module = readable(hold_numbers(step(target, x, number)))
    try:
        expected = target(x, number)
    except RuntimeError:  # a number too large for a type
        assert not held_in(module)
        return
    (found,) = module(x)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(torch.signbit(found), torch.signbit(expected))


@pytest.mark.parametrize(
    ("target", "x", "number", "kwargs"),
    [
        (aten.mul.Tensor, torch.ones(3, dtype=torch.bfloat16), 0.1, {}),
        (aten.mul.Tensor, torch.ones(3, dtype=torch.int64), 2, {}),
        (aten.mul.Tensor, torch.ones(3, dtype=torch.int64), 0.5, {}),
        (aten.mul.Tensor, torch.ones(3, dtype=torch.complex64), 0.5, {}),
        (aten.mul.Tensor, torch.ones(3), 1j, {}),
        (aten.mul.Tensor, torch.ones(3), True, {}),
        (aten.mul.Tensor, torch.ones(3), 1e39, {}),
        (aten.mul.Tensor, torch.ones(3, device="meta"), 0.5, {}),
        (aten.add.Tensor, torch.ones(3), 0.5, {"alpha": 3}),
        (aten.pow.Tensor_Scalar, torch.ones(3), 2, {}),
        (aten.clamp_min.default, torch.ones(3), 0, {}),
        (aten.mul.Tensor, torch.tensor(2.0, dtype=torch.float64), 0.5, {}),
    ],
)
def test_others_stay_numbers(target: Any, x: Tensor, number: Any, kwargs: dict[str, Any]) -> None:
    assert not held_in(hold_numbers(step(target, x, number, **kwargs)))


def test_a_number_is_held_once_for_each_type() -> None:
    def program(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return x * 0.5, x + 0.5, y * 0.5

    module = fx.symbolic_trace(program)
    for node, value in zip(
        module.graph.find_nodes(op="placeholder"), (torch.ones(2), torch.ones(2).double()), strict=True
    ):
        node.meta["spec"] = spec_of(value)
    for node in module.graph.nodes:
        if node.op == "call_function":
            node.target = {"mul": torch.mul, "add": torch.add}[node.target.__name__]
    assert held_in(hold_numbers(module)) == ["number_0_5", "double_0_5"]
    assert not dict(module.named_buffers())
    x, y = torch.randn(2), torch.randn(2).double()
    for one in (module, copy.deepcopy(module)):
        assert all(map(torch.equal, one(x, y), program(x, y)))


def test_one_made_without_autograd_may_be_kept_by_it() -> None:
    with torch.inference_mode():
        module = hold_numbers(step(aten.mul.Tensor, torch.ones(3), 0.5))
    x = torch.ones(3, requires_grad=True)
    module(x)[0].sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.full((3,), 0.5))


def test_numbers_that_change_with_the_step_are_held_where_all_that_read_them_allow_it() -> None:
    def readers(*targets: Any) -> list[fx.Node]:
        graph = fx.Graph()
        x, table = graph.placeholder("x"), graph.placeholder("table")
        x.meta["spec"], table.meta["spec"] = spec_of(torch.ones(3)), None
        for target in targets:
            graph.call_function(target, (x, table))
        return list(table.users)

    held = held_table((0.5, 1, 0.25), readers(aten.mul.Tensor, aten.add.Tensor))
    assert held is not None
    assert held.dtype == torch.float32
    assert held_table((0.5, 1), readers(aten.mul.Tensor, aten.pow.Tensor_Scalar)) is None
    assert held_table((0.5, 1e39), readers(aten.mul.Tensor)) is None
    assert held_table((0.5, 1.0), readers()) is None


def test_a_loop_with_step_sizes_reads_tensors() -> None:
    rates = [0.5, 0.1, 0.2, 0.3, 0.7, 0.9]

    def program(x: Tensor) -> Tensor:
        for rate in rates:
            x = x - rate * torch.sin(x) * 0.5
        return x

    fast = fxsolve.compile(program, backend="eager", schedule="gs")
    with torch.no_grad():
        for length in (3, 4):
            x = torch.randn(length)
            assert torch.equal(fast(x), program(x))
    assert fast.report().status == "emitted"
    assert "loop0_table" in fast.code
    assert "self.number_0_5" in fast.code
