"""Places by counting: what is widened, narrowed and projected are the entries that are meant."""

import itertools

import numpy as np
import pytest

from fxsolve.lower.incremental.places import NOWHERE, Places, comes_first, narrow, places_at, project, widen

SHAPE = (2, 3, 4)
DIMS = [dims for count in (1, 2) for dims in itertools.combinations(range(3), count)]


def all_places(dims: tuple[int, ...]) -> Places:
    """Every place along `dims`, last one first, and one outside."""
    count = int(np.prod([SHAPE[dim] for dim in dims]))
    return Places(dims, np.array([[*range(count)[::-1], NOWHERE]]))


def entries_at(places: Places, p: int) -> set[tuple[int, ...]]:
    """The entries of a value of `SHAPE` at place number p of the first row."""
    if places.table[0, p] == NOWHERE:
        return set()
    at = dict(zip(places.dims, np.unravel_index(places.table[0, p], [SHAPE[d] for d in places.dims]), strict=True))
    every = itertools.product(*map(range, SHAPE))
    return {entry for entry in every if all(entry[dim] == where for dim, where in at.items())}


@pytest.mark.parametrize("dims", DIMS)
def test_coordinates_put_together_are_the_places(dims: tuple[int, ...]) -> None:
    places = all_places(dims)
    again = places_at(places.coordinates(SHAPE), SHAPE, places.table == NOWHERE)
    assert again.key == places.key


@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("first", [True, False])
def test_widened_places_are_parts_of_each(dims: tuple[int, ...], first: bool) -> None:
    places = all_places(dims)
    more = [dim for dim in range(3) if dim not in dims][:1]
    wide = widen(places, SHAPE, more, first)
    size = SHAPE[more[0]]
    for p in range(places.count):
        own = [k * places.count + p if first else p * size + k for k in range(size)]
        parts = [entries_at(wide, number) for number in own]
        assert set().union(*parts) == entries_at(places, p)
        assert sum(map(len, parts)) == len(entries_at(places, p))


@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("first", [True, False])
def test_narrowed_places_are_those_that_were_widened(dims: tuple[int, ...], first: bool) -> None:
    table = all_places(dims).table[:, :-1]
    more = [dim for dim in range(3) if dim not in dims]
    found = narrow(widen(Places(dims, table), SHAPE, more, first), SHAPE, dims)
    assert found is not None
    assert (found[0].key, found[1]) == (Places(dims, table).key, first)


def test_places_that_leave_some_out_are_not_narrowed() -> None:
    assert narrow(Places((0, 1), np.array([[0, 1, 3]])), SHAPE, (0,)) is None
    assert narrow(Places((0, 1), np.array([[0, 1, 4]])), SHAPE, (0,)) is None


def test_a_projection_keeps_the_coordinates_of_the_dimensions_that_stay() -> None:
    found = project(Places((0, 2), np.array([[5, 2, NOWHERE]])), SHAPE, {2: 0}, (4,))
    assert found.dims == (0,)
    assert found.table.tolist() == [[1, 2, NOWHERE]]


def test_dimensions_in_front_of_all_others_come_first() -> None:
    assert comes_first(Places((1,), np.zeros((1, 1), np.int64)), [0])
    assert not comes_first(Places((1,), np.zeros((1, 1), np.int64)), [2])
