"""A body with examples is the same body, whose values say their form without memory."""

import torch

from fxsolve.ir.spec import Prefix
from fxsolve.ops.domains.entries import NEVER
from fxsolve.plan.examples import along, unlabelled, values_in, with_examples
from tests.ir.by_hand import RNN, B, N


def test_examples_have_the_form_of_the_values_and_no_memory() -> None:
    (repeat,) = RNN.system().repeats
    made = with_examples(repeat.body)
    given = [torch.rand(node.meta["spec"].shape) for node in repeat.body.graph.find_nodes(op="placeholder")]
    assert all(torch.equal(*pair) for pair in zip(made(*given), repeat.body(*given), strict=True))
    for node in made.graph.nodes:
        if node.op != "output":
            spec = node.meta["spec"]
            assert node.meta["val"].is_meta
            assert (node.meta["val"].shape, node.meta["val"].dtype) == (spec.shape, spec.dtype)
    assert all("val" not in node.meta or node.meta["val"] is not None for node in repeat.body.graph.nodes)


def test_entries_of_a_step_are_those_of_all_its_values() -> None:
    (repeat,) = RNN.system().repeats
    sizes = [node.meta["spec"].shape for node in repeat.body.graph.nodes if "spec" in node.meta]
    assert values_in(repeat) == sum(torch.Size(size).numel() for size in sizes) >= B * N


def test_labels_along_a_dimension_are_the_place_there() -> None:
    ranks = torch.tensor([4, 5, 6])
    found = along(ranks, (2, 3, 2), 1)
    assert found.shape == (2, 3, 2)
    assert torch.equal(found[1, :, 0], ranks)


def test_what_is_read_without_a_label_depends_on_no_step() -> None:
    (repeat,) = RNN.system().repeats
    assert not any(isinstance(read, Prefix) for read in repeat.reads)
    node = with_examples(repeat.body).graph.find_nodes(op="placeholder")[0]
    found = unlabelled(node, torch.device("cpu"))
    assert found.shape == node.meta["spec"].shape
    assert bool((found.latest == NEVER).all())
    assert not found.zero.any()
