"""What a recorded call does to the memory of tensors, compared with what the call itself did."""

import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx

from fxsolve.capture import raw_calls
from fxsolve.ir.tensor_spec import spec_of
from fxsolve.torch_compat.operators import OpOverload
from tests.capture.tapes import Known

aten = torch.ops.aten
X = torch.arange(6.0).reshape(2, 3)

CALLS: dict[str, tuple[OpOverload, tuple[Any, ...]]] = {
    "transpose": (aten.t.default, ()),
    "detach": (aten.detach.default, ()),
    "expand to its own size": (aten.expand.default, ([2, 3],)),
    "expand": (aten.expand.default, ([4, 2, 3],)),
    "view": (aten.view.default, ([6],)),
    "view of its own size": (aten.view.default, ([2, 3],)),
    "unbind": (aten.unbind.int, ()),
    "split": (aten.split.Tensor, (2, 1)),
    "neg": (aten.neg.default, ()),
    "max": (aten.max.dim, (1,)),
    "neg_": (aten.neg_.default, ()),
    "t_": (aten.t_.default, ()),
    "squeeze_": (aten.unsqueeze_.default, (0,)),
}


def called(name: str) -> tuple[fx.Node, Tensor, Any]:
    """The node of the call, its argument and its result."""
    function, args = CALLS[name]
    tape, x = Known(), X.clone()
    tape.given("x", x)
    result = tape.run(function, x, *args)
    node = next(node for node in tape.graph.nodes if node.target is function)
    return node, x, result


@pytest.mark.parametrize("name", CALLS)
def test_a_view_is_what_shares_memory_and_writes_nothing(name: str) -> None:
    node, x, result = called(name)
    first = result[0] if isinstance(result, list | tuple) else result
    shares = first.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
    assert raw_calls.is_view(node.target) == (shares and not name.endswith("_"))
    assert raw_calls.gives_parts(node) == (shares and isinstance(result, list | tuple))
    assert raw_calls.stays_whole(node) == (not shares)


@pytest.mark.parametrize("name", CALLS)
def test_what_changes_the_shape_of_its_argument_is_known(name: str) -> None:
    node, x, _ = called(name)
    assert raw_calls.changes_shape(node.target) == (x.shape != X.shape)


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_idle_where_it_gives_the_tensor_itself_and_is_no_view_to_be_inverted(name: str) -> None:
    assert raw_calls.is_idle(called(name)[0]) == (name in ("detach", "expand to its own size"))


def chain(*functions: Callable[[Known, Tensor], Tensor]) -> fx.Node:
    tape, x = Known(), X.clone()
    tape.given("x", x)
    for function in functions:
        x = function(tape, x)
    return tape.node_of(x)


def call(function: OpOverload, *args: Any) -> Callable[[Known, Tensor], Tensor]:
    return lambda tape, x: tape.run(function, x, *args)


def row(tape: Known, x: Tensor) -> Tensor:
    return tape.run(aten.unbind.int, x)[0]


DETACH, VIEW, NEG = call(aten.detach.default), call(aten.view.default, [-1]), call(aten.neg.default)


def test_a_detach_is_seen_through_views_and_their_parts_and_not_through_other_calls() -> None:
    assert raw_calls.is_detached(chain(DETACH))
    assert raw_calls.is_detached(chain(DETACH, row, VIEW))
    assert raw_calls.is_detached(chain(row, DETACH, VIEW))
    assert not raw_calls.is_detached(chain(DETACH, NEG))
    assert not raw_calls.is_detached(chain(DETACH, NEG, VIEW))
    assert not raw_calls.is_detached(chain(row, VIEW))


def test_inputs_and_parts_are_no_calls_of_operators() -> None:
    tape = Known()
    node = tape.placeholder("x", spec_of(X), "")
    assert not raw_calls.is_detached(node)
    for target in (node.target, operator.getitem):
        assert not raw_calls.is_view(target)
        assert not raw_calls.changes_shape(target)
    assert not raw_calls.stays_whole(node)


def test_what_makes_a_tensor_of_none_does_not_stay_whole() -> None:
    tape = Known()
    assert not raw_calls.stays_whole(tape.write(aten.ones.default, ([2],), {}, torch.ones(2), ""))
