"""Entries that are a box of a value are found to be one, and others are not."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fxsolve.lower.incremental.boxes import box_of

SIDES = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), st.integers(0, 2)), min_size=0, max_size=4)


@given(SIDES, st.randoms())
def test_a_permuted_box_is_cut_and_permuted(sides: list[tuple[int, int, int]], random: object) -> None:
    shape = [sum(side) for side in sides]
    numbers = np.arange(np.prod(shape, dtype=np.int64)).reshape(shape)
    order = list(range(len(sides)))
    random.shuffle(order)  # pyright: ignore[reportAttributeAccessIssue]
    cut = numbers[tuple(slice(start, start + count) for start, count, _ in sides)]
    entries = cut.transpose(order).reshape(-1)
    box = box_of(entries, shape)
    assert box is not None
    again = numbers[tuple(slice(start, start + count) for start, count in box.ranges)]
    assert np.array_equal(again.transpose(box.order).reshape(-1), entries)


def test_what_has_gaps_or_comes_in_another_order_is_no_box() -> None:
    for entries in ([0, 1, 3, 2], [1, 0], [0, 1, 3], [0, 0], [0, 3]):
        assert box_of(np.array(entries), (2, 2)) is None, entries
    assert box_of(np.array([0, 2]), (4,)) is None
