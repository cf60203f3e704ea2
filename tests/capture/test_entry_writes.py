"""Writes entry by entry are replayed as the ops that give their values, in the form that the tensors have anyway."""

import inspect
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, fx
from torch._ops import OpOverload

from fxsolve.capture.capture import capture
from fxsolve.capture.functional import functionalize
from fxsolve.capture.functional.entry_writes import form_without_write
from fxsolve.capture.verify import verify_program
from fxsolve.ir.strides import is_dense

Layout = Callable[[Callable[..., Tensor]], Tensor]

LAYOUTS: list[Layout] = [
    lambda make: make(4, 6),
    lambda make: make(6, 4).t(),
    lambda make: make(4, 18).chunk(3, 1)[1],
    lambda make: make(18, 4).t()[:, ::3],
    lambda make: make(1, 6).expand(4, 6),
    lambda make: make(6),
    lambda make: make(4, 1),
    lambda make: make(()),
]


def writes() -> Iterator[OpOverload]:
    """The operators of ATen that have a form without a write."""
    schemas = torch._C._jit_get_all_schemas()
    for name in sorted({one.name for one in schemas if one.name.startswith("aten::") and one.name.endswith("_")}):
        packet = getattr(torch.ops.aten, name.removeprefix("aten::"), None)
        for overload in packet.overloads() if packet is not None else ():
            if form_without_write(getattr(packet, overload)) is not None:
                yield getattr(packet, overload)


def arguments(op: OpOverload, first: Tensor, other: Tensor) -> list[Any]:
    """The first tensor, and the other one for all others; ones for numbers that have no default."""
    given = [one for one in op._schema.arguments if not one.kwarg_only and not one.has_default_value()]
    return [first.clone(), *(other if str(one.type) == "Tensor" else 1 for one in given[1:])]


def test_what_a_write_leaves_is_what_its_form_gives_in_the_same_dtype_and_order() -> None:
    checked = 0
    for op, dtype in itertools.product(writes(), (torch.float32, torch.int64, torch.bool, torch.complex64)):
        form = form_without_write(op)
        assert form is not None
        layouts = itertools.product(LAYOUTS[:2], LAYOUTS) if dtype == torch.float32 else [(LAYOUTS[0], LAYOUTS[0])]
        for first, other in layouts:
            ones = partial(torch.ones, dtype=dtype)
            try:
                left = op(*arguments(op, first(ones), other(ones)))
            except RuntimeError:  # no such write exists
                continue
            given = form(*arguments(op, first(ones), other(ones)))
            assert (given.dtype, given.stride()) == (dtype, left.stride()), op
            assert torch.allclose(given, left, equal_nan=True), op
            checked += 1
    assert checked > 1000


@pytest.mark.parametrize("target", LAYOUTS[:2], ids=["rows", "columns"])
@pytest.mark.parametrize(
    "other", LAYOUTS, ids=["rows", "columns", "parts", "every third", "expanded", "row", "column", "number"]
)
def test_what_is_made_lies_in_memory_as_its_form_says(
    target: Layout, other: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def program(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        whole = x * 1
        part = torch.cat([whole, whole, whole], 1).chunk(3, 1)[1]
        whole.mul_(y).sigmoid_()
        part.mul_(y).sigmoid_()
        return whole, part + 1

    followed = inspect.getattr_static(functionalize, "without_write")
    forms: list[object] = []
    monkeypatch.setattr(functionalize, "without_write", lambda call: forms.append(followed(call)) or forms[-1])
    x, y = target(torch.randn), other(torch.randn)
    expected = program(x, y)
    captured = capture(program, (x, y), {})
    verify_program(captured)
    assert any(forms)
    for value, output in zip(captured.module(x, y), expected, strict=True):
        assert torch.equal(value, output)
        assert value.stride() == output.stride()

    Checked(captured.module).run(x, y)


class Checked(fx.Interpreter):
    """Finds what lies in memory in another way than its node says."""

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor) and is_dense(n.meta["spec"]) and n.op == "call_function":
            assert value.stride() == n.meta["spec"].stride, n.target
        return value


@pytest.mark.parametrize("part", [lambda x: x, lambda x: x.t(), lambda x: x.chunk(3, 1)[1], lambda x: x[:, :1]])
def test_a_dimension_of_one_keeps_its_stride(part: Callable[[Tensor], Tensor]) -> None:
    def program(x: Tensor) -> tuple[Tensor, Tensor]:
        gates, others = part(x * 1), part(x + 1)
        return gates.add_(others).sigmoid_(), gates + 1

    x = torch.randn(1, 18)
    captured = capture(program, (x,), {})
    Checked(captured.module).run(x)
    for value, output in zip(captured.module(x), program(x), strict=True):
        assert torch.equal(value, output)
        assert value.stride() == output.stride()
