"""Attention looks at the keys that its mask admits; a recurrent layer at its own step and those before."""

import pytest
import torch

from fxsolve.ops.domains import attention
from fxsolve.ops.domains.entries import Entries, entries, unknown
from tests.ops.labels import aten, call, steps

T, N = 4, 2
TIME = entries(torch.arange(T)[:, None].expand(1, 1, T, N))
FREE = unknown((1, 1, T, N))


def attended(query: Entries, mask: torch.Tensor | None, is_causal: bool) -> torch.Tensor:
    arguments = (query, TIME, TIME, mask, 0.0, is_causal)
    found = attention.attention(call(aten._scaled_dot_product_attention_math.default, *arguments))[0]
    assert found.shape == query.shape
    return found.latest[0, 0, :, 0]


def test_a_query_sees_all_keys_without_a_mask_and_those_before_it_with_a_causal_one() -> None:
    assert torch.equal(attended(FREE, None, False), steps(3, 3, 3, 3))
    assert torch.equal(attended(FREE, None, True), steps(0, 1, 2, 3))


@pytest.mark.parametrize("kind", ["true where seen", "low where hidden"])
def test_a_mask_hides_keys(kind: str) -> None:
    seen = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]], dtype=torch.bool)
    mask = seen if kind == "true where seen" else torch.where(seen, 0.0, -torch.inf)
    # Where all are hidden, kernels differ in what they read.
    assert torch.equal(attended(FREE, mask, False), steps(0, 1, 1, 3))


def test_a_query_counts_too() -> None:
    assert torch.equal(attended(entries(TIME.latest + 2), None, True), steps(2, 3, 4, 5))


def layer(reverse: bool) -> list[Entries]:
    x = entries(torch.arange(T)[:, None, None].expand(T, 1, N))
    states, weights = [torch.zeros(1, 1, N)] * 2, [torch.zeros(4 * N, N)] * 2 + [torch.zeros(4 * N)] * 2
    arguments = (x, *weights, *states, reverse, [], 2, N, 1, True, False, False, False)
    return list(attention.recurrence(call(aten.mkldnn_rnn_layer.default, *arguments)))


def test_a_recurrent_layer_reads_its_own_step_and_those_before_it_in_its_direction() -> None:
    forward, *states = layer(False)
    assert torch.equal(forward.latest[:, 0, 0], steps(0, 1, 2, 3))
    assert all(bool((state.latest == 3).all()) for state in states)
    assert torch.equal(layer(True)[0].latest[:, 0, 0], steps(3, 3, 3, 3))
