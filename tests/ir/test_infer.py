"""The spec of a call is that of what it gives."""

import operator

import pytest
import torch
from torch import fx

from fxsolve.errors import PartitionError
from fxsolve.ir.bodies import add_placeholder
from fxsolve.ir.builder import add_call, copy_call, stand_in
from fxsolve.ir.infer import infer_spec
from fxsolve.ir.nested import Nested
from fxsolve.ir.spec import AllSteps, Lag, LastStep, Repeat
from fxsolve.ir.tensor_spec import UNKNOWN, TensorSpec, spec_of

aten = torch.ops.aten
X = torch.arange(24.0).reshape(2, 3, 4)
CASES = [
    (aten.select.int, (X, 1, 2), {}),
    (aten.slice.Tensor, (X.transpose(0, 2), 0, 1, 3), {}),
    (aten.cat.default, ([X, X], 2), {}),
    (aten.stack.default, ([X, X],), {}),
    (aten.mul.Tensor, (X.long(), 2), {}),
    (aten.mul.Tensor, (X.long(), 2.0), {}),
    (aten._to_copy.default, (X,), {"dtype": torch.float64}),
    (aten.full.default, ([2, 3], 0), {"dtype": torch.int32, "device": torch.device("cpu")}),
    (aten.unbind.int, (X, 1), {}),
    (torch.tensordot, (X, X, ([0, 1], [0, 1])), {}),
]


def leaf(graph: fx.Graph, value: object) -> object:
    """The argument `value` as a call of `graph` has it."""
    if isinstance(value, list):
        return [leaf(graph, one) for one in value]
    return add_placeholder(graph, "x", spec_of(value)) if isinstance(value, torch.Tensor) else value


def described(result: object) -> object:
    return spec_of(result) if isinstance(result, torch.Tensor) else tuple(map(spec_of, result))  # pyright: ignore


@pytest.mark.parametrize(("target", "args", "options"), CASES)
def test_the_spec_is_that_of_what_the_call_gives(target, args, options) -> None:
    graph = fx.Graph()
    call = add_call(graph, target, tuple(leaf(graph, value) for value in args), options)
    assert call.meta["spec"] == described(target(*args, **options))


def test_a_device_that_is_not_here_is_kept() -> None:
    graph = fx.Graph()
    x = add_placeholder(graph, "x", TensorSpec((2,), (1,), torch.float32, torch.device("cuda", 1)))
    assert add_call(graph, aten.neg.default, (x,)).meta["spec"].device == torch.device("cuda", 1)


def test_one_of_several_results_has_its_own_spec() -> None:
    graph = fx.Graph()
    parts = add_call(graph, aten.split.Tensor, (leaf(graph, X), 2, 2))
    assert add_call(graph, operator.getitem, (parts, 1)).meta["spec"] == spec_of(X.split(2, 2)[1])


def test_a_number_that_changes_with_the_step_may_be_an_index() -> None:
    graph = fx.Graph()
    x, index = leaf(graph, X), add_placeholder(graph, "t", None)
    assert add_call(graph, aten.select.int, (x, 0, index)).meta["spec"] == spec_of(X[0])


def test_a_loop_gives_stacks_and_single_values() -> None:
    body = fx.Graph()
    x = add_placeholder(body, "x", spec_of(X))
    body.output((add_call(body, aten.neg.default, (x,)),))
    writes = (AllSteps("all", 0), LastStep("last", 0))
    repeat = Repeat("loop", fx.GraphModule({}, body), 5, (Lag(0, ("start",)),), writes)
    graph = fx.Graph()
    call = add_call(graph, Nested(repeat), (leaf(graph, X),))
    assert call.meta["spec"] == (spec_of(torch.empty(5, 2, 3, 4)), spec_of(X))


def test_of_what_is_not_known_nothing_is_said() -> None:
    graph = fx.Graph()
    x = add_placeholder(graph, "x", UNKNOWN)
    assert "spec" not in add_call(graph, aten.neg.default, (x,)).meta


def test_a_call_that_cannot_be_made_is_refused() -> None:
    graph = fx.Graph()
    with pytest.raises(PartitionError, match=r"aten\.mm\.default cannot be called: "):
        add_call(graph, aten.mm.default, (leaf(graph, X), leaf(graph, X)))


def test_calls_of_one_form_are_made_once() -> None:
    calls = []

    def watched(x: torch.Tensor) -> torch.Tensor:
        calls.append(x)
        return -x

    graph = fx.Graph()
    for value in (X, X + 1, X, X[0]):
        infer_spec(graph.call_function(watched, (leaf(graph, value),)))
    assert [tuple(x.shape) for x in calls] == [(2, 3, 4), (3, 4)]


def test_a_new_value_is_noted_to_come_from_where_another_does_and_a_stand_in_is_the_other() -> None:
    graph = fx.Graph()
    node: fx.Node = add_call(graph, aten.neg.default, (leaf(graph, X),))
    node.meta["source"] = "user.py:3"
    made = add_call(graph, aten.select.int, (node, 0, 1), like=node)
    assert made.meta == {"spec": spec_of(X[1]), "source": "user.py:3"}
    assert stand_in(graph, node, aten.neg.default, node.args).meta == node.meta
    copied = copy_call(fx.Graph(), node, (1,), {})
    assert (copied.meta, copied.name, copied.target) == (node.meta, node.name, node.target)
