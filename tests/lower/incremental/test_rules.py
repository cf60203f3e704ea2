"""What a rule computes at places is what stands there in the whole value, for every call of every network."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, fx

from fxsolve.lower.incremental.final import PerStep, final_labels
from fxsolve.lower.incremental.layout import places_first, with_ones
from fxsolve.lower.incremental.moves import MovedFrom
from fxsolve.lower.incremental.places import Places
from fxsolve.lower.incremental.rules import RULES
from fxsolve.lower.incremental.step import step_graph
from fxsolve.lower.incremental.values import StepFacts, StepValues
from fxsolve.solvers.step_order import OneByOne
from tests.lower.incremental.steps import RealStore, sampler
from tests.plan.test_causal_networks import CAUSAL
from tests.samplers import SAMPLERS

NETWORKS = {**CAUSAL, **SAMPLERS}


def given_to(step: fx.GraphModule, labels: dict[fx.Node, object]) -> dict[fx.Node, Tensor]:
    """StepValues for the placeholders: those of step 1 that are known, and random ones."""
    values: dict[fx.Node, Tensor] = {}
    for node in step.graph.find_nodes(op="placeholder"):
        known, example = labels[node], node.meta["val"]
        if isinstance(known, PerStep):
            values[node] = known.values[1]
        elif isinstance(known, Tensor):
            values[node] = known
        elif example.is_floating_point():
            values[node] = torch.rand(example.shape, dtype=example.dtype)
        else:
            values[node] = torch.zeros(example.shape, dtype=example.dtype)
    return values


def some_places(shape: torch.Size, dims: tuple[int, ...]) -> Places:
    """Three places along `dims`, one of them twice."""
    count = int(np.prod([shape[dim] for dim in dims]))
    found = np.random.default_rng(0).integers(0, count, 3)
    return Places(dims, np.array([[*found, found[0]]]))


def described(node: fx.Node) -> tuple[object, ...]:
    """A call by its operator, the numbers among its arguments, and the shapes of the tensors."""
    arguments = fx.node.map_arg((node.args, node.kwargs), lambda one: str(getattr(one.meta["val"], "shape", one)))
    return (node.target, str(arguments))


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_at_places_stands_what_stands_there_in_the_whole(name: str, doubles: None) -> None:
    repeat, structural = sampler(*NETWORKS[name]())
    step = step_graph(repeat)
    labels = final_labels(repeat, step, structural, OneByOne(repeat.length))
    facts = StepFacts(RULES, MovedFrom(labels), {}, torch.device("cpu"))
    given = given_to(step, labels)
    seen: set[tuple[object, ...]] = set()
    for node in step.graph.nodes:
        if node.op != "call_function" or not isinstance(node.meta["val"], Tensor) or not node.meta["val"].dim():
            continue
        if (call := described(node)) in seen:
            continue  # as in the layer before
        seen.add(call)
        shape = node.meta["val"].shape
        dims = range(len(shape))
        for chosen in (*itertools.combinations(dims, 1), *list(itertools.combinations(dims, 2))[-2:]):
            places = some_places(shape, chosen)
            values = StepValues(facts, (1,), RealStore(), given)
            whole = places_first(values.whole(node), chosen)[torch.from_numpy(places.table[0])]
            torch.testing.assert_close(values.at(node, places), with_ones(whole, chosen), equal_nan=True)
