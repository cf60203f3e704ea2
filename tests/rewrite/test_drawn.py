"""Values of other numbers tell where the entries of a value come from, or nothing."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn

from fxsolve.rewrite.recorded.drawn import DrawnValues, Fixed, is_open
from fxsolve.stages import capture

aten = torch.ops.aten
N = 4
MASK = torch.ones(N, N).tril()


class Model(nn.Module):
    def __init__(self, change: Callable[..., Tensor], mask: Tensor) -> None:
        super().__init__()
        self.change = change
        self.weight = nn.Parameter(torch.arange(N * N).view(N, N).float())
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x + 1, self.change(self.weight, self.mask)


def drawn(change: Callable[..., Tensor], mask: Tensor = MASK) -> tuple[Tensor | None, Tensor]:
    """The changed weight and the weight itself, of other numbers than those of the model."""
    with torch.no_grad():
        program = capture(Model(change, mask), torch.zeros(N, N))
    fixed: dict[fx.Node, Fixed] = {}
    for node in program.module.graph.nodes:
        inputs = [fixed.get(one) for one in node.all_input_nodes]
        if node.op == "get_attr":
            fixed[node] = Fixed(len(fixed), node, is_open(program, node), frozenset(), 0)
        elif node.op == "call_function" and inputs and all(inputs):
            is_drawn = any(one.is_drawn for one in inputs if one)
            fixed[node] = Fixed(len(fixed), node, is_drawn, frozenset(), 0)
    values = DrawnValues(program)
    values.find(list(fixed.values()), fixed)
    weight = next(one for one in fixed.values() if one.node.op == "get_attr" and one.is_drawn)
    return values.of(list(fixed.values())[-1]), values.of(weight)


def test_drawn_numbers_are_other_ones_all_different_and_none_is_zero() -> None:
    _, weight = drawn(lambda w, m: w.t())
    assert (weight.shape, weight.dtype) == ((N, N), torch.float32)
    assert len(weight.abs().unique()) == N * N
    assert not (weight == 0).any()
    assert not torch.equal(weight, torch.arange(N * N).view(N, N).float())


@pytest.mark.parametrize(
    "change",
    [
        lambda w, m: w * m,
        lambda w, m: w.t()[1:],
        lambda w, m: w.masked_fill(m == 0, 7.0),
        lambda w, m: torch.where(m > 0, w, w.t()),
        lambda w, m: w.clone().triu(),
        lambda w, m: torch.select_scatter(w, w[1], 0, 2),
        lambda w, m: w.index_copy(0, torch.tensor([1]), w[2:3]),
    ],
)
def test_entries_that_only_move_are_what_the_same_change_makes_of_the_drawn_ones(change: Callable[..., Tensor]) -> None:
    found, weight = drawn(change)
    assert found is not None
    assert torch.equal(found, change(weight, MASK))


@pytest.mark.parametrize(
    "change",
    [
        lambda w, m: w * 2,
        lambda w, m: w * (m + 1),
        lambda w, m: w * w,
        lambda w, m: w + 0,
        lambda w, m: w.exp(),
        lambda w, m: torch.where(w > 0, m, m + 1),  # which one depends on the weight
        lambda w, m: w.as_strided((N,), (1,)),
        lambda w, m: w.index_put((torch.tensor([1]),), w[:1], accumulate=True),
    ],
)
def test_entries_that_would_become_other_numbers_are_not_known(change: Callable[..., Tensor]) -> None:
    assert drawn(change)[0] is None


def test_what_comes_from_what_is_not_known_is_not_known_either() -> None:
    assert drawn(lambda w, m: w.exp().t())[0] is None


def test_a_value_of_buffers_alone_is_what_it_is() -> None:
    class Buffers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mask", MASK)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.mask.exp() * 3

    program = capture(Buffers(), torch.zeros(N, N))
    (leaf,) = program.module.graph.find_nodes(op="get_attr")
    call = next(node for node in program.module.graph.nodes if node.target is aten.exp.default)
    fixed = {node: Fixed(number, node, False, frozenset(), 0) for number, node in enumerate((leaf, call))}
    values = DrawnValues(program)
    values.find(list(fixed.values()), fixed)
    assert not is_open(program, leaf)
    assert torch.equal(values.of(fixed[call]), MASK.exp())
