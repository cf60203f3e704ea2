"""Numbers that change with the step give the same as tensors, in value and in type."""

from typing import Any

import pytest
import torch
from torch import Tensor, fx

from fxsolve.errors import PartitionError
from fxsolve.ir.bodies import add_placeholder
from fxsolve.ir.spec import AllSteps, Invariant, Repeat, Table
from fxsolve.ir.tables import table_tensor
from fxsolve.ir.tensor_spec import spec_of
from fxsolve.lower.batch import tensor_body
from fxsolve.lower.entries import take_entry

aten = torch.ops.aten
X = torch.arange(12.0).reshape(3, 4) - 5
SCALARS = (aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor)
COMPARISONS = (aten.eq.Scalar, aten.ne.Scalar, aten.lt.Scalar, aten.le.Scalar, aten.gt.Scalar, aten.ge.Scalar)


def repeat_of(x: Tensor, numbers: tuple[int | float, ...], target: Any, *args: Any) -> Repeat:
    """Steps target(x, *args) in which None is the number of the step."""
    graph = fx.Graph()
    read, table = add_placeholder(graph, "x", spec_of(x)), add_placeholder(graph, "t", None)
    result = graph.call_function(target, (read, *(table if arg is None else arg for arg in args)))
    result.meta.update(source="model.py:7")
    result.meta["spec"] = spec_of(target(x, *(numbers[0] if arg is None else arg for arg in args)))
    graph.output((result,))
    body = fx.GraphModule({}, graph)
    return Repeat("cell", body, len(numbers), (Invariant("x"), Table(numbers)), (AllSteps("y", 0),))


def check(x: Tensor, numbers: tuple[int | float, ...], target: Any, *args: Any) -> None:
    repeat = repeat_of(x, numbers, target, *args)
    body = tensor_body(repeat)
    for number, tensor in zip(numbers, table_tensor(Table(numbers), x.device), strict=True):
        torch.testing.assert_close(body(x, tensor), repeat.body(x, number))  # a power of 0.5 is a root for a number
    (stack,) = torch.vmap(body, in_dims=(None, 0))(x, table_tensor(Table(numbers), x.device))
    torch.testing.assert_close(stack, torch.stack([repeat.body(x, number)[0] for number in numbers]))


@pytest.mark.parametrize("target", [*SCALARS, *COMPARISONS, aten.pow.Tensor_Scalar], ids=str)
def test_an_op_gives_for_a_tensor_what_it_gives_for_the_number(target: Any) -> None:
    for numbers in ((2, 3, 4), (0.5, 1.5)):
        for x in (X.abs(), X.abs().long(), X.abs().double(), torch.tensor(3), torch.tensor(1.5)):
            check(x, numbers, target, None)


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("numbers", [(0, 2, 1, 1), (-1, 0, -3)], ids=str)
def test_entries_are_picked_by_their_numbers_from_either_end(dim: int, numbers: tuple[int, ...]) -> None:
    check(X, numbers, aten.select.int, dim, None)


def test_a_window_of_one_entry_moves_with_the_step() -> None:
    repeat = repeat_of(X, (1, 0, 2), window_of_one, None)
    (node,) = repeat.body.graph.find_nodes(op="call_function", target=window_of_one)
    node.target, node.args = aten.slice.Tensor, (node.args[0], 1, node.args[1])
    for t in (1, 0, 2):
        assert torch.equal(tensor_body(repeat)(X, torch.tensor(t))[0], X[:, t : t + 1])


def window_of_one(x: Tensor, t: int) -> Tensor:
    """x[:, t : t + 1], whose end a graph knows as a table of its own."""
    return x[:, t : t + 1]


@pytest.mark.parametrize("stacked", [None, 0, 1, 2])
@pytest.mark.parametrize("dim", [0, 1])
def test_an_entry_is_taken_from_a_shared_tensor_or_from_one_for_each_step(stacked: int | None, dim: int) -> None:
    index = torch.tensor([2, 0, 1])
    x = torch.randn(3, 3) if stacked is None else torch.randn(3, 3, 3)
    found = torch.vmap(lambda x, i: take_entry(x, dim, i), in_dims=(stacked, 0))(x, index)
    entries = [x if stacked is None else x.select(stacked, t) for t in range(3)]
    wanted = [entry.select(dim, int(i)) for entry, i in zip(entries, index, strict=True)]
    assert torch.equal(found, torch.stack(wanted))


@pytest.mark.parametrize(
    ("numbers", "target", "args", "words"),
    [
        ((0, 1), aten.unsqueeze.default, (None,), "aten.unsqueeze.default at model.py:7 takes a number that changes"),
        ((1, 2), aten.slice.Tensor, (1, 0, None), "a window that moves with the step, at model.py:7, is wider"),
        ((-1, -4), aten.select.int, (0, None), "t counts from the end and beyond the start of a dimension"),
    ],
)
def test_what_has_no_form_with_tensors_is_named_with_its_line(
    numbers: tuple[int, ...], target: Any, args: tuple[Any, ...], words: str
) -> None:
    with pytest.raises(PartitionError, match=words):
        tensor_body(repeat_of(X, numbers, target, *args))
