"""Tensors without values lie in memory as those that they stand for, by torch's own rules."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from fxsolve.capture.functional import meta
from fxsolve.ir.strides import is_dense
from fxsolve.ir.tensor_spec import spec_of
from tests.ir.layouts import layouts

aten = torch.ops.aten


@settings(deadline=None)
@given(layouts())
def test_a_spec_is_dense_where_torch_says_so_of_its_tensor(x: Tensor) -> None:
    assert is_dense(spec_of(x)) == aten.is_non_overlapping_and_dense.default(x)
    assert not is_dense((spec_of(x),))
    assert not is_dense(None)


@settings(deadline=None)
@given(layouts())
def test_a_write_into_a_part_lies_as_torch_lays_it(x: Tensor) -> None:
    assume(x.dim())
    target = x.to("meta").as_strided(x.shape, x.stride())
    # The call itself: what torch 2.11 says of it without values keeps strides of 0.
    expected = aten.slice_scatter.default(x, x[:1], 0, 0, 1)
    assert meta.scattered(target).stride() == expected.stride()


@settings(deadline=None)
@given(layouts(), layouts(), st.booleans())
def test_a_value_stands_for_its_copy_where_that_fills_memory_as_it_does(x: Tensor, y: Tensor, is_other: bool) -> None:
    value = y.double() if is_other else y
    if meta.replaces(x, value):
        copy = aten.copy.default(x, value)
        assert torch.equal(copy, value)
        assert copy.dtype == value.dtype
        if is_dense(spec_of(x)):
            assert copy.stride() == value.stride()
        else:  # no layout to keep
            assert value.stride() == x.stride() or value.is_contiguous()
    if x.shape == value.shape and x.stride() == value.stride():
        assert meta.replaces(x, value) != is_other


@pytest.mark.parametrize("value", [torch.zeros(2, 1), torch.zeros(2, 3, dtype=torch.int32), torch.zeros(3, 2).t()])
def test_a_value_of_another_form_is_no_copy_of_itself(value: Tensor) -> None:
    assert not meta.replaces(torch.zeros(2, 3), value)
