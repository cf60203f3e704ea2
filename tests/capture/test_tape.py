"""A tape knows tensors by identity, keeps none of them alive, and orders inputs, attributes and calls."""

import gc

import pytest
import torch
from torch import fx

from fxsolve.ir.tensor_spec import spec_of
from tests.capture.tapes import Known

aten = torch.ops.aten
CPU = torch.device("cpu")


def test_a_tensor_is_found_by_identity_and_not_by_value() -> None:
    tape, x = Known(), torch.zeros(2)
    node = tape.given("x", x)
    assert tape.find(x) is node
    assert tape.find(x.clone()) is None
    assert tape.find(x.view(2)) is None


def test_a_new_tensor_with_the_id_of_a_dead_one_is_unknown() -> None:
    tape = Known()
    for _ in range(50):  # an id is used again at once
        x = torch.zeros(2)
        assert tape.find(x) is None
        tape.given("x", x)
        del x


def test_a_tape_keeps_no_tensor_alive() -> None:
    tape, x = Known(), torch.ones(1)
    tape.given("x", x)
    tape.given("pair", pair := torch.ones(2))
    assert tape.holds_scalar()
    del x
    gc.collect()
    assert not tape.holds_scalar()
    assert tape.find(pair) is not None


def test_inputs_stand_before_attributes_and_these_before_calls_whenever_they_are_added() -> None:
    tape, x = Known(), torch.ones(2)
    spec = spec_of(x)
    tape.given("x", x)
    tape.run(aten.neg.default, x)
    tape.attribute("a", spec, "")
    tape.placeholder("y", spec, "")
    tape.attribute("b", spec, "")
    order = [(node.op, str(node.target)) for node in tape.graph.nodes]
    assert order[:4] == [("placeholder", "x"), ("placeholder", "y"), ("get_attr", "a"), ("get_attr", "b")]
    assert [op for op, _ in order[4:]] == ["call_function"]


def test_attributes_come_first_where_there_is_no_input() -> None:
    tape = Known()
    tape.write(aten.ones.default, ([2],), {}, torch.ones(2), "")
    tape.attribute("a", spec_of(torch.ones(2)), "")
    assert [node.op for node in tape.graph.nodes] == ["get_attr", "call_function"]


def test_what_is_written_computes_what_was_computed() -> None:
    tape, x = Known(), torch.randn(3, 4)
    tape.given("x", x)
    values, indices = tape.run(aten.max.dim, x, 1)
    joined = tape.run(aten.cat.default, [values, values])
    tape.graph.output((tape.as_nodes(joined), tape.as_nodes(indices)))
    tape.graph.lint()
    found = fx.GraphModule({}, tape.graph)(x)
    assert torch.equal(found[0], joined)
    assert torch.equal(found[1], indices)


def test_specs_are_shared_and_parts_have_their_own() -> None:
    tape, x = Known(), torch.randn(3, 4)
    tape.given("x", x)
    one, two = tape.run(aten.neg.default, x), tape.run(aten.exp.default, x)
    mean, none = tape.run(aten.var_mean.correction, x, [0])
    specs = [tape.node_of(value).meta["spec"] for value in (one, two)]
    assert specs[0] is specs[1]
    assert specs[0] == spec_of(x)
    (call,) = {tape.node_of(part).args[0] for part in (mean, none)}
    assert isinstance(call, fx.Node)
    assert call.meta["spec"] == (spec_of(mean), spec_of(none))


@pytest.mark.parametrize("backward", [False, True])
def test_calls_of_the_backward_pass_are_marked(backward: bool) -> None:
    tape, x = Known(), torch.randn(3, 4)
    tape.given("x", x)
    tape.backward = backward
    tape.run(aten.unbind.int, x)
    assert [node.meta.get("backward", False) for node in tape.graph.nodes] == [False] + 4 * [backward]


def test_the_device_of_a_result_may_be_told() -> None:
    tape = Known()
    node = tape.write(aten.ones.default, ([2],), {}, torch.ones(2, device="meta"), "", CPU)
    assert node.meta["spec"].device == CPU
