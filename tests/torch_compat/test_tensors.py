"""What is asked of tensors is what torch does with them."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from fxsolve.torch_compat import tensors


def test_counted_writes_are_those_that_autograd_sees() -> None:
    x = torch.zeros(3)
    counts = [tensors.write_count_of(x)]
    for write in (lambda: x.add_(1), lambda: x[0].zero_(), lambda: x.data.add_(1), lambda: x.detach().add_(1)):
        write()
        counts.append(tensors.write_count_of(x))
    assert [after - before for before, after in pairwise(counts)] == [1, 1, 0, 1]
    with torch.inference_mode(), pytest.raises(RuntimeError, match="do not track version counter"):
        tensors.write_count_of(torch.zeros(3))


def test_uncounted_writes_are_made() -> None:
    x = torch.zeros(3)
    with tensors.uncounted_writes((x,)):
        x.add_(1)
    assert (x.sum().item(), tensors.write_count_of(x)) == (3.0, 0)


def test_the_base_of_a_view_is_the_first_tensor() -> None:
    x = torch.zeros(2, 3)
    assert tensors.base_of(x[0][1:]) is x
    assert tensors.is_view(x.t())
    for other in (x, x.clone(), x.data):
        assert tensors.base_of(other) is None
        assert not tensors.is_view(other)


def test_hooks_of_a_tensor_are_found() -> None:
    x = torch.zeros(2, requires_grad=True)
    assert not tensors.hooks_of(x)
    assert not tensors.accumulation_hooks_of(x)
    handle = x.register_hook(lambda gradient: gradient)
    x.register_post_accumulate_grad_hook(lambda tensor: None)
    assert len(tensors.hooks_of(x)) == len(tensors.accumulation_hooks_of(x)) == 1
    handle.remove()
    assert not tensors.hooks_of(x)


def test_addresses_are_those_of_what_is_shared() -> None:
    def address(tensor: Tensor) -> int:
        return tensors.address_of_storage(tensor.untyped_storage())

    x = torch.zeros(4)
    assert address(x) == address(x[2:]) == address(x.detach())
    assert address(x) != address(x.clone())
    assert tensors.address_of_storage(tensors.typed_storage(x)._untyped_storage) == address(x)
    one, other = torch.Generator(), torch.Generator()
    assert tensors.address_of_generator(one) == tensors.address_of_generator(one) != tensors.address_of_generator(other)


def test_a_negative_view_has_negated_values_on_the_same_memory() -> None:
    x = torch.tensor([1.0, -2.0])
    view = tensors.negative_view(x)
    assert view.is_neg()
    assert view.tolist() == [-1.0, 2.0]
    view[0] = 5
    assert x[0] == -5


@pytest.mark.parametrize(
    ("tensor", "overlaps"),
    [
        (torch.zeros(2, 3), False),
        (torch.zeros(3, 2).t()[:, ::2], False),
        (torch.zeros(3).expand(2, 3), True),
        (torch.zeros(1).expand(1), False),
        (torch.zeros(5).as_strided((3, 3), (1, 1)), False),  # it does, and that is not certain
    ],
)
def test_a_stride_of_zero_is_certain_to_overlap(tensor: Tensor, overlaps: bool) -> None:
    assert tensors.overlaps_itself(tensor) == overlaps
