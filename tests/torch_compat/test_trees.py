"""A tree is its leaves and its form."""

from collections import OrderedDict, deque, namedtuple
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fxsolve.torch_compat.trees import TreeSpec, pytree

Pair = namedtuple("Pair", "a b")
LEAVES = st.one_of(st.integers(), st.text(max_size=2), st.none(), st.builds(frozenset))
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=2), inner, max_size=3),
        st.dictionaries(st.text(max_size=2), inner, max_size=3).map(OrderedDict),
        st.lists(inner, max_size=3).map(deque),
        st.builds(Pair, inner, inner),
    ),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(TREES)
def test_a_tree_comes_back_from_its_leaves(tree: Any) -> None:
    leaves, spec = pytree.tree_flatten(tree)
    assert isinstance(spec, TreeSpec)
    assert leaves == pytree.tree_leaves(tree)
    again = pytree.tree_unflatten(leaves, spec)
    assert (again, type(again)) == (tree, type(tree))
    assert pytree.tree_flatten(again)[1] == spec
    assert spec.num_leaves == len(leaves)


@settings(max_examples=40, deadline=None)
@given(TREES)
def test_a_map_keeps_the_form(tree: Any) -> None:
    mapped = pytree.tree_map(repr, tree)
    assert pytree.tree_leaves(mapped) == [*map(repr, pytree.tree_leaves(tree))]
    assert pytree.tree_flatten(mapped)[1] == pytree.tree_flatten(tree)[1]
    assert pytree.tree_map_only(int, lambda one: one, tree) == tree


def test_only_leaves_of_a_kind_are_mapped_and_tensors_are_leaves() -> None:
    tree = {"b": torch.ones(2), "a": [1, (torch.zeros(1), None)]}
    assert pytree.tree_map_only(Tensor, lambda one: one.numel(), tree) == {"b": 2, "a": [1, (1, None)]}
