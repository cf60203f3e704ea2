"""Tensors in rebound places become inputs behind the others, and everything that named them names the inputs."""

import pytest
import torch
from torch import Tensor, fx

from fxsolve.capture.program import Backward, Example, Mutation
from fxsolve.capture.record.changes import Changes
from fxsolve.capture.record.dispatch import Dispatcher
from fxsolve.capture.record.feeds import Fed, feed
from fxsolve.errors import SideEffectError
from fxsolve.state.held import NOTHING_HELD
from fxsolve.state.places import Place
from fxsolve.state.stores import Move, Read, Same, Stores
from tests.capture.recording import recorder_of, run

X, STATE, FIXED, OTHER = (torch.full((2,), float(k)) for k in range(1, 5))
PLACES = {name: Place(name, {name: tensor}, name) for name, tensor in (("h", STATE), ("c", OTHER))}
CANDIDATES = ((Read(PLACES["c"], ()), OTHER), (Read(PLACES["h"], ()), STATE), (Read(PLACES["h"], ()), STATE))


def recorded() -> Dispatcher:
    """x + h * fixed, with noise, of which h is state; nothing reads c."""
    recorder = recorder_of((X,))
    result = run(recorder, lambda x: x + STATE * FIXED + torch.rand(2), X)
    recorder.graph.output((recorder.node_of(result),))
    return recorder


def fed(recorder: Dispatcher, backward: Backward | None = None) -> Fed:
    names = {id(tensor): name for name, tensor in recorder.root.items()}
    state, fixed = names[id(STATE)], names[id(FIXED)]
    example = Example((X,), tuple(recorder.noise), (X,), {state: STATE * 0, fixed: FIXED})
    mutations = (Mutation(state, 1, is_counted=True), Mutation(0, 2, is_counted=True))
    shared = (Same(0, "attribute", state, (), False), Same(1, "attribute", fixed, (), False))
    stores = Stores(moves=(Move(state, 0, (1,)), Move(fixed, 0, (1,))), shared=shared)
    changes = Changes(stores, (), CANDIDATES, NOTHING_HELD)
    return feed(recorder.graph, recorder.root, recorder.roles, example, mutations, changes, backward)


def test_the_graph_computes_the_same_and_takes_the_state_behind_the_other_inputs() -> None:
    recorder = recorded()
    found = fed(recorder)
    recorder.graph.lint()
    placeholders = [node.name for node in recorder.graph.find_nodes(op="placeholder")]
    assert placeholders == ["input_0", "input_1", "noise_0"]
    assert [name for name, role in found.roles.items() if role == "input"] == placeholders[:2]
    assert sorted(found.roles.values()) == ["constant", "input", "input", "noise"]
    state: Tensor = torch.rand(2)
    (result,) = fx.GraphModule(found.root, recorder.graph)(X, state, *recorder.noise)
    assert torch.equal(result, X + state * FIXED + recorder.noise[0])


def test_what_named_the_attribute_names_the_input_and_all_else_stays() -> None:
    found = fed(recorded())
    assert [one is FIXED for one in found.root.values()] == [True]
    (fixed,) = found.root
    assert [one.place for one in found.mutations] == [1, 0]
    assert [one.place for one in found.stores.moves] == [1, fixed]
    assert [(one.kind, one.base) for one in found.stores.shared] == [("input", 1), ("attribute", fixed)]
    assert list(found.example.attributes) == [fixed]


def test_the_example_has_what_the_state_was_before_the_run() -> None:
    found = fed(recorded())
    assert [one.tolist() for one in found.example.inputs] == [X.tolist(), [0.0, 0.0]]
    assert [one is STATE for one in found.example.state] == [True]
    assert [read.place.key for read in found.stores.reads] == ["h"]


def test_state_that_a_gradient_flows_into_is_refused() -> None:
    recorder = recorded()
    (name,) = (name for name, tensor in recorder.root.items() if tensor is STATE)
    backward = Backward((0,), (0, name), (1, 2), (frozenset({0}),) * 2, ())
    with pytest.raises(SideEffectError, match="reads state that wants gradients; detach it before the call"):
        fed(recorder, backward)
