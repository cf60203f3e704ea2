"""A product lets nothing through where the other factor is zero in every run."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fxsolve.ops.domains import products
from fxsolve.ops.domains.entries import NEVER, Entries, entries
from tests.ops.labels import aten, call, steps

T = 4
TIME = entries(torch.arange(T).expand(2, T))


def test_a_triangular_factor_lets_earlier_steps_through() -> None:
    strict = torch.ones(T, T).triu(1)
    assert torch.equal(
        products.product(call(aten.mm.default, TIME, strict)).latest, steps([NEVER, 0, 1, 2]).expand(2, T)
    )
    dense = products.product(call(aten.mm.default, TIME, torch.ones(T, T)))
    assert torch.equal(dense.latest, torch.full((2, T), T - 1))


def test_a_product_of_zeros_is_zero_and_what_is_added_counts() -> None:
    nothing = torch.zeros(T, 3)
    found = products.product(call(aten.mm.default, TIME, nothing))
    assert found.zero.all()
    added = products.product(call(aten.addmm.default, entries(steps(7, 8, 9)), TIME, nothing))
    assert torch.equal(added.latest, steps([7, 8, 9]).expand(2, 3))
    assert not added.zero.any()


def test_each_of_a_batch_of_products_has_its_own_labels() -> None:
    left = entries(torch.stack([TIME.latest, TIME.latest + 1]))
    found = products.product(call(aten.bmm.default, left, torch.eye(T).expand(2, T, T)))
    assert torch.equal(found.latest, left.latest)


def test_a_vector_is_a_row_or_a_column() -> None:
    column = torch.tensor([1.0, 1.0, 0.0, 0.0])
    assert torch.equal(products.product(call(aten.mv.default, TIME, column)).latest, steps(1, 1))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_what_is_reached_is_the_latest_of_the_used(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(NEVER, 3, (3, 5), generator=generator)
    used = torch.rand(5, 4, generator=generator) < 0.5
    found = products.latest_reached(labels, used)
    for i in range(3):
        for j in range(4):
            assert found[i, j] == max([int(labels[i, k]) for k in range(5) if used[k, j]], default=NEVER)


def test_both_factors_count() -> None:
    left = Entries(steps([0, 9]), torch.tensor([[False, False]]), torch.zeros(1, 2, dtype=torch.bool))
    right = entries(steps([5], [NEVER]), torch.tensor([[False], [True]]))
    assert products.product(call(aten.mm.default, left, right)).latest.item() == 5
