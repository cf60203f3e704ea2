"""The calls that made a view make it again, whatever was written into it meanwhile."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fxsolve.capture.effects.routes import is_plain, route_of, written_node
from fxsolve.state.stores import Same
from fxsolve.state.storing import _follow
from tests.capture.tapes import Known

aten = torch.ops.aten
VIEWS: dict[str, Callable[[Known, Tensor], Tensor]] = {
    "transpose": lambda tape, x: tape.run(aten.transpose.int, x, 0, -1),
    "unsqueeze": lambda tape, x: tape.run(aten.unsqueeze.default, x, 1),
    "slice": lambda tape, x: tape.run(aten.slice.Tensor, x, 0, 0, 9, 2),
    "part": lambda tape, x: tape.run(aten.unbind.int, x, 0)[-1],
    "half": lambda tape, x: tape.run(aten.split.Tensor, x, 2, dim=-1)[0],
    "detach": lambda tape, x: tape.run(aten.detach.default, x),
    "write": lambda tape, x: tape.run(aten.add_.Tensor, x, 1),
    "write by a view": lambda tape, x: tape.run(aten.mul_.Tensor, tape.run(aten.t.default, x), 2) if x.dim() < 3 else x,
}


def lying(x: Tensor) -> tuple[Any, ...]:
    return x.data_ptr(), x.shape, x.stride()


@settings(deadline=None)
@given(st.lists(st.sampled_from(list(VIEWS)), max_size=5))
def test_a_route_leads_from_its_leaf_to_the_view(names: list[str]) -> None:
    tape, x = Known(), torch.zeros(4, 4, 4)
    leaf, view = tape.given("x", x), x
    for name in names:
        before = view
        view = VIEWS[name](tape, view) if before.dim() else before
        view = before if name.startswith("write by") else view
    found = route_of(written_node(tape.node_of(view)), {leaf}, ())
    assert found is not None
    node, route = found
    assert node is leaf
    assert lying(_follow(Same(0, "input", 0, route, wants_grad=True), x)) == lying(view)


def test_without_a_leaf_the_farthest_of_the_others_is_found() -> None:
    tape, x = Known(), torch.zeros(4, 4)
    tape.given("x", x)
    y = tape.run(aten.exp.default, x)
    row = tape.run(aten.select.int, y, 0, 1)
    part = tape.run(aten.slice.Tensor, row, 0, 1)
    first, base, middle, last = (tape.node_of(one) for one in (x, y, row, part))
    found = route_of(last, (), {base, middle})
    assert found is not None
    assert (found[0], [step.function for step in found[1]]) == (base, [aten.select.int, aten.slice.Tensor])
    assert route_of(last, {middle}, {base}) == (middle, found[1][1:])
    assert route_of(last, {first}, ()) is None  # a call that is no view lies between
    assert route_of(last, {last}, {base}) == (last, ())


def test_the_node_before_writes_is_found_through_calls_in_place_and_those_with_out() -> None:
    tape, x = Known(), torch.zeros(2, 2)
    node = tape.given("x", x)
    assert written_node(node) is node
    tape.run(aten.add_.Tensor, x, 1)
    tape.write(aten.neg.out, (node,), {"out": tape.node_of(x)}, aten.neg.out(x, out=x), "")
    tape.run(aten.relu_.default, x)
    assert tape.node_of(x) is not node
    assert written_node(tape.node_of(x)) is node
    tape.run(aten.unsqueeze_.default, x, 0)
    assert written_node(tape.node_of(x)) is tape.node_of(x)  # another shape: not the same tensor


class Custom(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> Tensor:
        return cotangent * 2


def hooked(x: Tensor) -> Tensor:
    view = x[0]
    view.register_hook(lambda gradient: gradient * 2)
    return view


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (lambda x: x, True),
        (lambda x: x[0].unsqueeze(1), True),
        (lambda x: x.unbind()[1], True),
        (lambda x: Custom.apply(x)[0], False),
        (hooked, False),
        (lambda x: x * x, False),
    ],
)
def test_gradients_flow_back_along_a_plain_view_as_they_are(view: Callable[[Tensor], Tensor], expected: bool) -> None:
    x = torch.zeros(2, 2, requires_grad=True)
    assert is_plain(view(x), x) == expected
    assert not is_plain(view(x), x.detach())
