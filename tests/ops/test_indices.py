"""Places that are known move labels; places that are not may be any."""

import pytest
import torch

from fxsolve.ops.call import bind
from fxsolve.ops.domains import places
from fxsolve.ops.domains.entries import entries
from tests.ops.labels import aten, call, steps

X = entries(steps([0, 1, 2], [3, 4, 5]))
INDEX = torch.tensor([2, 0])


def test_known_places_pick_their_own_labels() -> None:
    assert torch.equal(places.selected(call(aten.index_select.default, X, 1, INDEX)).latest, X.latest[:, INDEX])
    assert torch.equal(places.indexed(call(aten.index.Tensor, X, [None, INDEX])).latest, X.latest[:, INDEX])
    gathered = places.gathered(call(aten.gather.default, X, 1, INDEX[:, None]))
    assert torch.equal(gathered.latest, steps([2], [3]))


def test_a_place_that_is_not_known_may_be_any() -> None:
    found = places.selected(bind(aten.index_select.default, (X, 1, entries(steps(9, 0))), {}, torch.zeros(2, 2)))
    assert torch.equal(found.latest, steps([9, 2], [9, 5]))


def test_known_places_beside_others_keep_their_own_labels_apart() -> None:
    rows, columns = torch.tensor([1, 0]), entries(steps(9, 0))
    found = places.indexed(bind(aten.index.Tensor, (X, [rows, columns]), {}, torch.zeros(2)))
    assert torch.equal(found.latest, steps(9, 2))
    found = places.put(bind(aten.index_put.default, (X, [rows, columns], entries(steps(1, 4))), {}, torch.zeros(2, 3)))
    assert torch.equal(found.latest, steps([4, 4, 4], [9, 9, 9]))


def test_what_may_be_a_mask_or_stands_apart_is_left_to_others() -> None:
    mask, rows = entries(steps(9, 0, 0)), torch.tensor([1, 0, 1])
    with pytest.raises(NotImplementedError):
        places.indexed(bind(aten.index.Tensor, (X, [rows, mask]), {}, torch.zeros(3)))
    wide = entries(torch.zeros(2, 3, 4, dtype=torch.long))
    with pytest.raises(NotImplementedError):
        places.indexed(bind(aten.index.Tensor, (wide, [rows[:2], None, entries(steps(1, 2))]), {}, torch.zeros(2, 3)))


def test_rows_are_looked_up_by_places_that_steps_made() -> None:
    found = places.look_up(bind(aten.embedding.default, (torch.zeros(5, 2), entries(steps(3, 1))), {}, None))
    assert torch.equal(found.latest, steps([3, 3], [1, 1]))


def test_slices_that_are_copied_in_bring_their_labels() -> None:
    source = entries(steps([7], [8]))
    found = places.copied(call(aten.index_copy.default, X, 1, torch.tensor([1]), source))
    assert torch.equal(found.latest, steps([0, 7, 2], [3, 8, 5]))
    with pytest.raises(NotImplementedError):  # which of two is left is not said
        places.copied(call(aten.index_copy.default, X, 1, torch.tensor([1, 1]), entries(steps([7, 7], [8, 8]))))


def test_what_is_scattered_may_be_anywhere_along_its_dimension() -> None:
    found = places.scattered(call(aten.scatter.src, X, 1, torch.tensor([[0], [0]]), entries(steps([7], [2]))))
    assert torch.equal(found.latest, steps([7, 7, 7], [3, 4, 5]))


def test_entries_that_are_put_take_the_places_of_others() -> None:
    values = entries(steps(6, 9))
    found = places.put(call(aten.index_put.default, X, [torch.tensor([0, 1]), torch.tensor([1, 1])], values))
    assert torch.equal(found.latest, steps([0, 6, 2], [3, 9, 5]))


def test_entries_that_are_put_at_one_place_are_any_of_the_values() -> None:
    values = entries(steps(9, 6))
    found = places.put(call(aten.index_put.default, X, [torch.tensor([0, 0]), torch.tensor([1, 1])], values))
    assert torch.equal(found.latest, steps([0, 9, 2], [3, 4, 5]))
