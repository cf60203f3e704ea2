"""Ops along a dimension: an entry depends on those that take part, and on no other."""

import torch

from fxsolve.ops.domains import along
from fxsolve.ops.domains.entries import NEVER, Entries, entries
from tests.ops.labels import HIDDEN, aten, call, known, steps

X = entries(steps([0, 3, 1], [2, 0, 0]))


def test_a_sum_depends_on_what_it_adds() -> None:
    assert torch.equal(along.reduced(call(aten.sum.dim_IntList, X, [1])).latest, steps(3, 2))
    assert torch.equal(along.reduced(call(aten.amax.default, X, [0], True)).latest, steps([2, 3, 1]))
    assert along.reduced(call(aten.sum.default, X)).latest.item() == 3


def test_a_sum_of_zeros_is_zero_and_depends_on_nothing() -> None:
    zero = torch.tensor([[True, True], [True, False]])
    found = along.reduced(call(aten.sum.dim_IntList, entries(steps([0, 1], [2, 3]), zero), [1]))
    assert found.zero.tolist() == [True, False]
    assert torch.equal(found.latest, steps(NEVER, 3))


def test_results_of_an_order_depend_on_all_that_is_put_in_order() -> None:
    values, places = along.reduced(call(aten.topk.default, X, 2))
    assert torch.equal(values.latest, steps([3, 3], [2, 2]))
    assert torch.equal(places.latest, values.latest)


def test_what_a_mask_hides_takes_no_part_in_a_softmax() -> None:
    scores = Entries(steps([0, 5], [1, 2]), *(torch.tensor(one) for one in ([[False] * 2] * 2, [[False, True]] * 2)))
    found = along.softmax(call(aten._softmax.default, scores, 1, False))
    assert torch.equal(found.latest, steps([0, NEVER], [1, NEVER]))  # a hidden entry is 0 in every run
    assert found.zero.tolist() == [[False, True]] * 2
    every = along.softmax(call(aten._softmax.default, known([HIDDEN, HIDDEN]), 1, False))
    assert not every.zero.any()  # where all are hidden, none is


def test_what_is_added_up_so_far_depends_on_what_came_before() -> None:
    assert torch.equal(along.cumulative(call(aten.cumsum.default, X, 1)).latest, steps([0, 3, 3], [2, 2, 2]))


def test_norms_mix_what_they_norm_and_keep_the_rest_apart() -> None:
    rows, *statistics = along.layer_norm(call(aten.native_layer_norm.default, X, [3], None, None, 1e-5))
    assert torch.equal(rows.latest, steps([3] * 3, [2] * 3))
    assert all(torch.equal(one.latest.flatten(), steps(3, 2)) for one in statistics)
    channels = entries(steps([[0], [1], [2], [5]]))
    grouped = along.group_norm(call(aten.native_group_norm.default, channels, None, None, 1, 4, 1, 2, 1e-5))
    assert torch.equal(grouped[0].latest.flatten(), steps(1, 1, 5, 5))


def test_statistics_of_a_batch_are_those_of_all_samples_in_training_only() -> None:
    mean, var = torch.zeros(3), torch.ones(3)
    arguments = (None, None, mean, var)
    trained = along.batch_norm(call(aten.native_batch_norm.default, X, *arguments, True, 0.1, 1e-5))
    assert torch.equal(trained[0].latest, steps([2, 3, 1], [2, 3, 1]))
    used = along.batch_norm(call(aten.native_batch_norm.default, X, *arguments, False, 0.1, 1e-5))
    assert torch.equal(used[0].latest, X.latest)
