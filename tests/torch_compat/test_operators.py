"""What torch knows of an operator."""

import pytest
import torch
from torch.nn import functional as F

from fxsolve.torch_compat import operators

aten = torch.ops.aten


@pytest.mark.parametrize(
    ("function", "name", "overload"),
    [(aten.add.Tensor, "add", "Tensor"), (aten.add_.Scalar, "add_", "Scalar"), (aten.neg.default, "neg", "default")],
)
def test_an_operator_is_its_name_and_its_overload(function: operators.OpOverload, name: str, overload: str) -> None:
    assert (operators.operator_name_of(function), operators.overload_name_of(function)) == (name, overload)
    assert operators.schema_of(function).name == f"aten::{name}"
    assert isinstance(function, operators.OpOverload)


def test_a_schema_says_what_is_written() -> None:
    assert operators.schema_of(aten.add_.Tensor).is_mutable
    assert not operators.schema_of(aten.add.Tensor).is_mutable


def test_kernels_and_decompositions_are_known() -> None:
    assert operators.has_kernel("aten::mm", "CPU")
    assert not operators.has_kernel("aten::mm", "CompositeImplicitAutograd")
    assert operators.can_decompose(aten.matmul.default)
    assert not operators.can_decompose(aten.mm.default)


def test_operators_that_take_functions_are_of_another_class() -> None:
    assert isinstance(torch.ops.higher_order.cond, operators.HigherOrderOperator)
    assert not isinstance(torch.ops.higher_order.cond, operators.OpOverload)


def test_the_functions_of_layers_are_the_ones_behind_those_of_python() -> None:
    assert operators.functions_of_layers.one_hot is F.one_hot
