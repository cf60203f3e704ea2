"""Tensors without values lie in memory as those that they stand for, by torch's own rules."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from fxsolve.capture.functional import meta
from fxsolve.ir.tensor_spec import TensorSpec, spec_of

aten = torch.ops.aten
CPU = torch.device("cpu")


@st.composite
def layouts(draw: st.DrawFn) -> Tensor:
    """A tensor of up to 24 entries: dimensions exchanged, some of them expanded, every second entry, or as it is."""
    shape = draw(st.lists(st.integers(1, 3), max_size=3))
    x = torch.arange(float(torch.Size(shape).numel())).reshape(shape)
    x = x.permute(draw(st.permutations(range(x.dim()))))
    kind = draw(st.sampled_from(["as it is", "gaps", "expanded", "one more"]))
    if kind == "gaps" and x.dim():
        return x.repeat_interleave(2, -1)[..., ::2]
    if kind == "expanded" and x.dim():
        return x[..., :1].expand(x.shape)
    return x.unsqueeze(draw(st.integers(0, x.dim()))) if kind == "one more" else x


@settings(deadline=None)
@given(layouts())
def test_a_spec_is_dense_where_torch_says_so_of_its_tensor(x: Tensor) -> None:
    assert meta.is_dense(spec_of(x)) == aten.is_non_overlapping_and_dense.default(x)
    assert not meta.is_dense((spec_of(x),))
    assert not meta.is_dense(None)


@settings(deadline=None)
@given(layouts())
def test_a_tensor_of_a_spec_has_its_form_and_no_values(x: Tensor) -> None:
    found = meta.empty_like_spec((spec_of(x), None))
    assert spec_of(found[0], CPU) == spec_of(x)
    assert found[0].is_meta
    assert found[1] is None


@settings(deadline=None)
@given(layouts())
def test_a_write_into_a_part_lies_as_torch_lays_it(x: Tensor) -> None:
    assume(x.dim())
    target = x.to("meta").as_strided(x.shape, x.stride())
    expected = aten.slice_scatter.default(target, target[:1], 0, 0, 1)
    assert spec_of(meta.scattered(target)) == spec_of(expected)


@settings(deadline=None)
@given(layouts(), layouts(), st.booleans())
def test_a_value_stands_for_its_copy_where_that_fills_memory_as_it_does(x: Tensor, y: Tensor, is_other: bool) -> None:
    value = y.double() if is_other else y
    if meta.replaces(x, value):
        copy = aten.copy.default(x, value)
        assert torch.equal(copy, value)
        assert copy.dtype == value.dtype
        if meta.is_dense(spec_of(x)):
            assert copy.stride() == value.stride()
        else:  # no layout to keep
            assert value.stride() == x.stride() or value.is_contiguous()
    if x.shape == value.shape and x.stride() == value.stride():
        assert meta.replaces(x, value) != is_other


@pytest.mark.parametrize("value", [torch.zeros(2, 1), torch.zeros(2, 3, dtype=torch.int32), torch.zeros(3, 2).t()])
def test_a_value_of_another_form_is_no_copy_of_itself(value: Tensor) -> None:
    assert not meta.replaces(torch.zeros(2, 3), value)


def test_the_device_of_a_call_is_that_of_its_first_result() -> None:
    cpu, other = spec_of(torch.zeros(1)), TensorSpec((1,), (1,), torch.float32, torch.device("cuda:1"))
    assert meta.device_of(cpu) == CPU
    assert meta.device_of((None, other, cpu)) == torch.device("cuda:1")


def test_a_factory_with_these_options_makes_no_values() -> None:
    options = {"device": CPU, "dtype": torch.float64}
    assert aten.ones.default([2], **meta.on_meta(options)).is_meta
    assert options["device"] == CPU
    assert meta.on_meta({"dim": 1}) == {"dim": 1}
