"""The memory that a tensor spans against the places of all its entries."""

from itertools import product

import torch
from hypothesis import given
from hypothesis import strategies as st

from fxsolve.solvers.memory import span_of

dims = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 9)), max_size=3)


@given(dims)
def test_the_span_reaches_from_the_first_to_the_last_entry(dims: list[tuple[int, int]]) -> None:
    sizes, strides = [size for size, _ in dims], [stride for _, stride in dims]
    indices = product(*(range(size) for size in sizes))
    places = [sum(i * stride for i, stride in zip(index, strides, strict=True)) for index in indices]
    assert span_of(torch.empty_strided(sizes, strides)) == max(places) - min(places) + 1
