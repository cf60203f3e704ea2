"""The functions of `torch` give what the ATen ops give."""

from typing import Any

import pytest
import torch
from torch import fx

from fxsolve.capture.bits import same_bits
from fxsolve.lower.readable import readable, readable_copy, readable_target
from tests.loops.programs import SAMPLES, Sample, given_values

aten = torch.ops.aten
X, Y, N = torch.randn(4, 3), torch.rand(4, 3), torch.tensor([0, 2, 1, 2])

CALLS: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = [
    (aten.add.Tensor, (X, Y), {"alpha": 2}),
    (aten.max.dim, (X, 1), {}),
    (aten.linear.default, (X, Y), {}),
    (aten.gelu.default, (X,), {"approximate": "tanh"}),
    (aten.slice.Tensor, (X, 1, 0, 2), {}),
    (aten.expand.default, (X[:, :1], [4, 3]), {}),
    (aten.view.default, (X, [3, 4]), {}),
    (aten.contiguous.default, (X.t(),), {}),
    (aten.new_zeros.default, (X, [2, 5]), {"dtype": torch.int64, "pin_memory": False}),
    (aten.copy.default, (X, Y), {}),
    (aten._to_copy.default, (X,), {"dtype": torch.float64}),
    (aten.index_put.default, (X, [None, N[:3]], Y[:1, :3]), {}),
    (aten.arange.start, (1, 4), {}),
    (aten.full.default, ([2], 3), {}),
    (aten.normal_functional.default, (X,), {}),
    (aten.mse_loss.default, (X, Y), {}),
    (aten.nll_loss_forward.default, (X, N, None, 1, -100), {}),
    (aten.binary_cross_entropy.default, (Y, Y), {}),
]


@pytest.mark.parametrize(("target", "args", "kwargs"), CALLS, ids=[str(call[0]) for call in CALLS])
def test_a_readable_target_takes_the_same_arguments_and_gives_the_same(
    target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], seed: int
) -> None:
    torch.manual_seed(seed)
    wanted = target(*args, **kwargs)
    torch.manual_seed(seed)
    found = readable_target(target)(*args, **kwargs)
    pairs = [(found, wanted)] if isinstance(wanted, torch.Tensor) else zip(found, wanted, strict=True)
    assert all(same_bits(*pair) for pair in pairs)


def test_what_has_a_function_is_called_by_it_and_other_targets_stay() -> None:
    assert readable_target(aten.add.Tensor) is torch.add
    assert readable_target(aten.view.default) is torch.reshape
    for target in (aten.slice.Tensor, aten._to_copy.default, aten.mse_loss.default, torch.ops.prims.sin.default, len):
        assert readable_target(target) is target


@pytest.mark.parametrize("sample", SAMPLES[::4], ids=str)
def test_a_readable_program_gives_the_same_bits(sample: Sample) -> None:
    program = sample.captured()
    values = given_values(program)
    given = [values[node.name] for node in program.module.graph.find_nodes(op="placeholder")]
    with torch.no_grad():
        wanted = program.module(*given)
        found = readable(program.module)(*given)
    assert all(map(same_bits, found, wanted))


def test_a_readable_copy_leaves_the_body_as_it_is() -> None:
    graph = fx.Graph()
    graph.output((graph.call_function(aten.add.Tensor, (graph.placeholder("x"), 1)),))
    body = fx.GraphModule({}, graph)
    copied = readable_copy(body)
    assert "torch.ops.aten.add.Tensor(x, 1)" in body.code
    assert "torch.add(x, 1)" in copied.code


def test_slices_and_casts_of_a_module_cost_as_little_as_in_python() -> None:
    graph = fx.Graph()
    x = graph.placeholder("x")
    x.meta["spec"] = X
    calls = [(aten.slice.Tensor, (x, 1, start, end), {}) for start, end in ((0, 2), (-2, 9), (1, -1), (2, 2))]
    calls += [(aten._to_copy.default, (x,), {"dtype": torch.float64}), (aten.slice.Tensor, (x, 1, 0, 3, 2), {})]
    for target, args, kwargs in calls:
        made = graph.call_function(target, args, kwargs)
        made.meta["spec"] = target(X, *args[1:], **kwargs)
    graph.output(tuple(node for node in graph.nodes if node.op == "call_function"))
    module = readable(fx.GraphModule({}, graph))
    targets = [node.target for node in module.graph.nodes if node.op in ("call_function", "call_method")]
    assert targets == [torch.narrow] * 4 + ["to", aten.slice.Tensor]
    wanted = [target(X, *args[1:], **kwargs) for target, args, kwargs in calls]
    for found, value in zip(module(X), wanted, strict=True):
        assert same_bits(found, value)
        assert found.stride() == value.stride()
