"""Tensors without values have the form of those that they stand for."""

import torch
from hypothesis import given, settings
from torch import Tensor

from fxsolve.ir import meta
from fxsolve.ir.tensor_spec import TensorSpec, spec_of
from tests.ir.layouts import layouts

aten = torch.ops.aten
CPU = torch.device("cpu")


@settings(deadline=None)
@given(layouts())
def test_a_tensor_of_a_spec_has_its_form_and_no_values(x: Tensor) -> None:
    found = meta.empty_like_spec((spec_of(x), None))
    assert spec_of(found[0], CPU) == spec_of(x)
    assert found[0].is_meta
    assert found[1] is None


def test_the_device_of_a_call_is_that_of_its_first_result() -> None:
    cpu, other = spec_of(torch.zeros(1)), TensorSpec((1,), (1,), torch.float32, torch.device("cuda:1"))
    assert meta.device_of(cpu) == CPU
    assert meta.device_of((None, other, cpu)) == torch.device("cuda:1")


def test_a_factory_with_these_options_makes_no_values() -> None:
    options = {"device": CPU, "dtype": torch.float64}
    assert aten.ones.default([2], **meta.on_meta(options)).is_meta
    assert options["device"] == CPU
    assert meta.on_meta({"dim": 1}) == {"dim": 1}
