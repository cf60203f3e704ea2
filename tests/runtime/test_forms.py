"""The arguments of a call, flat, and the forms of their tensors: as pytree and torch tell them, only faster."""

from collections import OrderedDict, namedtuple
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fxsolve.runtime.forms import Forms, describe, flatten, sameness
from fxsolve.torch_compat.tensors import form_check
from fxsolve.torch_compat.trees import pytree

Pair = namedtuple("Pair", ["a", "b"])
N = 12  # tensors: more than are described one by one

plain = st.one_of(st.integers(), st.booleans(), st.none(), st.text(max_size=2), st.just(torch.ones(1)))
trees = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.one_of(st.integers(0, 3), st.text(max_size=1)), inner, max_size=3),
        st.dictionaries(st.text(max_size=1), inner, max_size=3).map(OrderedDict),
        st.tuples(inner, inner).map(lambda pair: Pair(*pair)),
    ),
    max_leaves=8,
)
calls = st.tuples(st.lists(trees, max_size=3).map(tuple), st.dictionaries(st.sampled_from("xyz"), trees, max_size=2))


@given(calls)
def test_leaves_are_those_of_pytree_in_their_order(call: Any) -> None:
    leaves, _ = flatten(*call)
    wanted = pytree.tree_leaves(call)
    assert len(leaves) == len(wanted)
    assert all(one is other for one, other in zip(leaves, wanted, strict=True))


@given(calls, calls)
@settings(max_examples=300)
def test_calls_are_arranged_alike_where_pytree_says_so(one: Any, other: Any) -> None:
    arranged = [flatten(*call)[1] for call in (one, other)]
    specs = [pytree.tree_structure(call) for call in (one, other)]
    if arranged[0] == arranged[1]:
        assert specs[0] == specs[1]


def test_equal_arrangements_are_equal() -> None:
    for make in (lambda: ([torch.ones(1)] * 9, {"a": (1, [2])}), lambda: (Pair(1, 2),), lambda: (1, torch.ones(1))):
        assert flatten(make(), {})[1] == flatten(make(), {})[1]
    for one, other in (([1, 2], [3]), ([1], [2, 3])), (([1, [2]],), ([[1], 2],)), (({"a": 1},), ({"b": 1},)):
        assert flatten(one, {})[1] != flatten(other, {})[1]


def same() -> list[Tensor]:
    return [torch.ones(4, 2) for _ in range(N)]


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "shape": lambda x: torch.ones(4, 3),
    "dimensions": lambda x: torch.ones(8),
    "stride": lambda x: torch.ones(2, 4).T,
    "dtype": lambda x: x.double(),
    "gradient": lambda x: x.requires_grad_(),
    "type": lambda x: nn.Parameter(x, requires_grad=False),
    "device": lambda x: x.to("meta"),
    "negated": lambda x: torch._neg_view(x),
    "sparse": lambda x: x.to_sparse(),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("place", [0, 7, N - 1])
def test_what_differs_in_one_tensor_is_seen(change: str, place: int) -> None:
    forms = Forms()
    before = forms.of(tuple(same()))
    assert forms.of(tuple(same())) == before
    tensors = same()
    tensors[place] = CHANGES[change](tensors[place])
    assert not form_check(same())(tensors)
    now = forms.of(tuple(tensors))
    assert now != before
    assert now == (tuple(map(describe, tensors)), sameness(tuple(tensors)))
    assert forms.of(tuple(tensors)) == now
    assert forms.of(tuple(same())) == before


def test_conjugated_tensors_are_told_apart() -> None:
    forms, values = Forms(), [torch.ones(3, dtype=torch.complex64) for _ in range(N)]
    plain = forms.of(tuple(values))
    assert forms.of(tuple(one.conj() for one in values)) != plain


@pytest.mark.parametrize(
    "mode", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu"), torch.enable_grad]
)
def test_modes_change_nothing(mode: Callable[[], Any]) -> None:
    forms = Forms()
    before = forms.of(tuple(same()))
    tensors = same()
    with mode():
        assert forms.of(tuple(tensors)) == before
        assert forms.of(tuple(tensors)) == before


def test_one_object_twice_and_shared_memory_are_seen() -> None:
    forms = Forms()
    before = forms.of(tuple(same()))
    twice, shared = same(), same()
    twice[3] = twice[8]
    whole = torch.ones(2, 4, 2)
    shared[3], shared[8] = whole.unbind()
    for tensors in (twice, shared):
        for _ in range(2):
            found = forms.of(tuple(tensors))
            assert found[0] == before[0]
            assert found[1] == sameness(tuple(tensors)) != before[1]


def test_what_comes_twice_is_compared_at_once_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """And told from what comes twice elsewhere, or not at all."""
    forms, tensors = Forms(), same()
    calls = [tensors, [*tensors[:8], *tensors[:4]], [*tensors[:8], *tensors[4:8]], [tensors[0]] * N]
    for call in calls:
        forms.of(tuple(call))
        described: list[Tensor] = []
        monkeypatch.setattr("fxsolve.runtime.forms.describe", described.append)
        wanted = (tuple(map(describe, call)), sameness(tuple(call)))
        assert forms.of(tuple(call)) == wanted
        assert not described
        monkeypatch.undo()
