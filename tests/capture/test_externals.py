"""Tensors from outside are known by their memory; what is written over is kept and put back."""

import pytest
import torch
from torch import Tensor, fx

from fxsolve.capture.effects.externals import External, Externals, find_aliases
from fxsolve.capture.effects.writable import why_not_again
from fxsolve.errors import SideEffectError

aten = torch.ops.aten
NODE = fx.Graph().placeholder("x")


def external(tensor: Tensor, place: int | str = 0) -> External:
    return External(tensor, NODE, place, f"tensor {place}")


def written(tensor: Tensor) -> Externals:
    """A tensor that one call adds 1 to."""
    found = Externals()
    found.add(external(tensor))
    found.before_write(aten.add_.Tensor, tensor, (tensor, 1), {})
    tensor.add_(1)
    return found


def test_a_write_is_undone_unseen_by_autograd() -> None:
    x = torch.arange(3.0)
    version = x._version
    found = written(x)
    (one,) = found.written
    assert one.mutation(4).output == 4
    assert one.mutation(4).is_counted
    assert torch.equal(found.before()[id(x)], torch.arange(3.0))
    found.undo()
    assert torch.equal(x, torch.arange(3.0))
    assert x._version == version + 1


def test_only_the_first_values_are_kept() -> None:
    x = torch.zeros(2)
    found = written(x)
    found.before_write(aten.add_.Tensor, x, (x, 1), {})
    x.add_(1)
    assert len(found.written) == 1
    assert torch.equal(found.before()[id(x)], torch.zeros(2))


def test_a_tensor_that_moves_is_put_back_on_its_memory() -> None:
    x = torch.zeros(2)
    memory = x.data_ptr()
    found = Externals()
    found.add(external(x))
    found.before_move(x)
    x.data = torch.ones(2)
    assert [one.external.tensor is x for one in found.moved] == [True]
    assert found.memories()[0].tensor.data_ptr() == memory
    found.check()
    found.undo()
    assert x.data_ptr() == memory


def test_tensors_on_one_memory_may_not_be_written_into() -> None:
    x = torch.zeros(4)
    found = Externals()
    found.add(external(x))
    found.add(external(x[:2], 1))
    with pytest.raises(SideEffectError, match="tensor 0 shares memory with tensor 1"):
        found.before_write(aten.add_.Tensor, x, (x, 1), {})
    alone = written(torch.zeros(4))
    with pytest.raises(SideEffectError, match="shares memory"):
        alone.add(external(alone.written[0].external.tensor[:2], 1))


def test_another_kind_of_tensor_is_refused() -> None:
    x = torch.zeros(2)
    found = written(x)
    x.requires_grad_()
    with pytest.raises(SideEffectError, match="the program makes tensor 0 another kind of tensor"):
        found.check()


def test_outputs_on_written_memory_are_views_of_the_written_tensor() -> None:
    x = torch.zeros(2, 3)
    found = written(x)
    own, row = find_aliases((x, x[1], torch.zeros(2)), found.written)
    assert (own.output, own.view) == (0, None)
    assert (row.output, row.view) == (1, ((3,), (1,), 3))
    with pytest.raises(SideEffectError, match="output 0 is tensor 0 read as another type"):
        find_aliases((x.view(torch.int32),), found.written)


X = torch.zeros(2, 3)
WRITES = [
    (aten.add_.Tensor, X, X, (X, 1), {}, None),
    (aten.t_.default, X, X, (X,), {}, "and changes its shape or memory"),
    (aten.add_.Tensor, X[:, ::2], X[:, ::2], (X[:, ::2], 1), {}, "and whose entries share memory or leave gaps in it"),
    (aten.add_.Tensor, X, X[0], (X, 1), {}, "beyond its end"),
    (aten.add_.Tensor, X, X, (X, torch.ones(2, 3, requires_grad=True)), {}, "and lets gradients flow through it"),
    (aten.add.out, X, X, (X, 1), {"out": X}, None),
    (aten.add.out, X, X, (torch.ones(3, 2, 3), 1), {"out": X}, "and changes its shape"),
    (aten.randn.out, X, X, ([2, 3],), {"out": X}, "and draws random numbers"),
]


@pytest.mark.parametrize("write", WRITES, ids=lambda write: str(write[0]))
def test_a_write_can_be_made_again_if_it_leaves_new_values_and_nothing_else(write) -> None:
    function, target, tensor, args, options, reason = write
    assert why_not_again(function, target, tensor, args, options) == reason
