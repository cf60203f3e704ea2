"""What strides read or write is said by slices: the same entries, for any tensor and any slices of it."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, fx, nn

import fxsolve
from fxsolve.ir.bodies import add_placeholder
from fxsolve.ir.builder import add_call
from fxsolve.ir.tensor_spec import spec_of
from fxsolve.rewrite.recorded.strided import find_slices, index_strided
from fxsolve.torch_compat.graphs import Graph

aten = torch.ops.aten
CALLS = 3


def replaced(target: Any, tensors: list[Tensor], *form: Any) -> fx.GraphModule:
    """A graph of one call, which is replaced."""
    graph = Graph()
    inputs = [add_placeholder(graph, f"x{k}", spec_of(x)) for k, x in enumerate(tensors)]
    call = add_call(graph, target, (*inputs, *form))
    call.meta["source"] = None
    graph.output(call)
    index_strided(graph, call)
    return fx.GraphModule({}, graph)


def is_left(module: fx.GraphModule) -> bool:
    return any("as_strided" in str(node.target) for node in module.graph.nodes)


@st.composite
def parts(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """A tensor, and a part of it that slices reach."""
    x = torch.randn(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    part = x = x.permute(draw(st.permutations(range(x.dim()))))
    for dim in reversed(range(x.dim())):
        start = draw(st.integers(0, x.shape[dim] - 1))
        if draw(st.booleans()):
            part = part.select(dim, start)
        else:
            part = part[(slice(None),) * dim + (slice(start, None, draw(st.integers(1, 2))),)]
    part = part.permute(draw(st.permutations(range(part.dim()))))
    return x, part.unsqueeze(draw(st.integers(0, part.dim()))) if draw(st.booleans()) else part


@settings(max_examples=100, deadline=None)
@given(parts())
def test_slices_hold_what_strides_reach(both: tuple[Tensor, Tensor]) -> None:
    x, part = both
    form = (list(part.shape), list(part.stride()), part.storage_offset())
    read = replaced(aten.as_strided.default, [x], *form)
    assert torch.equal(read(x), part)
    new = torch.randn(part.shape)
    written = replaced(aten.as_strided_scatter.default, [x, new], *form)
    assert torch.equal(written(x, new), torch.as_strided_scatter(x, new, *form))
    assert not any(map(is_left, (read, written)))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 9)), max_size=3),
    st.integers(0, 20),
)
def test_where_there_are_slices_they_are_right(shape: list[int], form: list[tuple[int, int]], offset: int) -> None:
    x = torch.arange(torch.Size(shape).numel()).view(shape)
    size, stride = [n for n, _ in form], [step for _, step in form]
    if offset + sum((n - 1) * step for n, step in form) < x.numel():
        expected = x.as_strided(size, stride, offset)
        assert torch.equal(replaced(aten.as_strided.default, [x], size, stride, offset)(x), expected)


@pytest.mark.parametrize(
    "form", [([3], [5], 0), ([3, 2], [1, 1], 0), ([2, 4], [0, 1], 0)], ids=["a diagonal", "windows", "expanded"]
)
def test_other_parts_are_no_slices(form: tuple[list[int], list[int], int]) -> None:
    assert find_slices(spec_of(torch.ones(4, 4)), *form) is None


class Rows(nn.Module):
    """States of all layers in one tensor, each written where it was read."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.ModuleList(nn.RNNCell(3, 3) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        h, out = x.new_zeros(2, 2, 3), []
        for y in x:
            for k, cell in enumerate(self.cells):
                y = cell(y, h[k].clone())
                h[k] = y
            out.append(y)
        return torch.stack(out)


def test_the_backward_pass_of_writes_into_rows_is_solved_for_all_steps_at_once(doubles: None) -> None:
    model = Rows()
    fast = fxsolve.compile(model, backend="eager", schedule="jacobi")
    for _ in range(CALLS):
        x = torch.randn(8, 2, 3, requires_grad=True)
        results = fast(x), model(x)
        torch.testing.assert_close(*results)
        ours, own = (torch.autograd.grad(y.square().sum(), [x, *model.parameters()]) for y in results)
        torch.testing.assert_close(ours, own)
    chosen = {loop.chosen.schedule.partition("(")[0] for loop in fast.report().loops if not loop.sums}
    assert chosen == {"jacobi"}
