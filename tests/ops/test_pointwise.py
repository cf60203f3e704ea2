"""A pointwise op depends on what is at its own place; zeros and masks go through it where they do in every run."""

import pytest
import torch

from fxsolve.ops.call import bind
from fxsolve.ops.domains import pointwise
from fxsolve.ops.domains.entries import NEVER, Entries, entries, flags, known_true
from tests.ops.labels import HIDDEN, aten, call, steps

X = entries(steps(0, 1, 2))
ZERO = entries(steps(0, 1, 2), torch.tensor([True, False, False]))
MASKED = Entries(steps(0, 1, 2), torch.zeros(3, dtype=torch.bool), torch.tensor([False, True, False]))


def test_the_later_of_two_entries_counts() -> None:
    assert torch.equal(
        pointwise.same_place(call(aten.atan2.default, X, entries(steps(2, 0, 1)))).latest, steps(2, 1, 2)
    )


@pytest.mark.parametrize(
    ("target", "keeps"),
    [(aten.tanh.default, True), (aten.neg.default, True), (aten.cos.default, False), (aten.exp.default, False)],
    ids=str,
)
def test_zeros_go_through_what_makes_zeros_of_them(target, keeps: bool) -> None:
    found = pointwise.same_place(call(target, ZERO))
    assert found.zero.tolist() == [keeps, False, False]
    assert torch.equal(found.latest, steps(NEVER, 1, 2))


def test_the_exponential_of_what_a_mask_hides_is_zero() -> None:
    assert pointwise.same_place(call(aten.exp.default, MASKED)).zero.tolist() == [False, True, False]


def test_a_product_with_zero_depends_on_nothing() -> None:
    found = pointwise.same_place(call(aten.mul.Tensor, X, torch.tensor([1.0, 0.0, 2.0])))
    assert torch.equal(found.latest, steps(0, NEVER, 2))
    assert not pointwise.same_place(call(aten.div.Tensor, X, torch.tensor([1.0, 2.0, 3.0]))).zero.any()


def test_a_mask_that_is_added_hides_and_one_that_is_taken_away_does_not() -> None:
    mask = torch.tensor([0.0, HIDDEN, 0.0])
    assert pointwise.same_place(call(aten.add.Tensor, X, mask)).low.tolist() == [False, True, False]
    assert not pointwise.same_place(call(aten.sub.Tensor, X, mask)).low.any()
    assert pointwise.same_place(call(aten.sub.Tensor, X, -mask)).low.tolist() == [False, True, False]


def test_a_known_condition_chooses_the_labels_and_an_unknown_one_counts_itself() -> None:
    other = entries(steps(5, 5, 5))
    condition = torch.tensor([True, False, True])
    assert torch.equal(pointwise.same_place(call(aten.where.self, condition, X, other)).latest, steps(0, 5, 2))
    filled = pointwise.same_place(call(aten.masked_fill.Scalar, X, condition, -torch.inf))
    assert torch.equal(filled.latest, steps(NEVER, 1, NEVER))
    assert torch.equal(filled.low, condition)


SURE = flags(steps(0, 1, 2), torch.tensor([True, False, False]), torch.tensor([False, True, False]))
FLAG = torch.zeros(3, dtype=torch.bool)


def boolean(target, *args) -> Entries:
    return pointwise.same_place(bind(target, args, {}, FLAG))


def test_of_booleans_some_are_known_to_be_false_and_some_true() -> None:
    assert torch.equal(SURE.latest, steps(NEVER, NEVER, 2))
    both = boolean(aten.bitwise_and.Tensor, SURE, torch.tensor([True, True, False]))
    assert (both.zero.tolist(), known_true(both).tolist()) == ([True, False, True], [False, True, False])
    either = boolean(aten.bitwise_or.Tensor, SURE, torch.tensor([False, False, True]))
    assert (either.zero.tolist(), known_true(either).tolist()) == ([True, False, False], [False, True, True])
    turned = boolean(aten.logical_not.default, SURE)
    assert (turned.zero.tolist(), known_true(turned).tolist()) == ([False, True, False], [True, False, False])
    equal = boolean(aten.eq.Scalar, ZERO, 0)
    assert (equal.zero.tolist(), known_true(equal).tolist()) == ([False] * 3, [True, False, False])


def test_a_choice_that_is_known_for_some_entries_takes_those() -> None:
    other = entries(steps(5, 5, 5))
    assert torch.equal(pointwise.same_place(call(aten.where.self, SURE, X, other)).latest, steps(5, 1, 5))
    hidden = pointwise.same_place(call(aten.masked_fill.Scalar, X, SURE, -torch.inf))
    assert torch.equal(hidden.latest, steps(0, NEVER, 2))
    assert hidden.low.tolist() == [False, True, False]


def test_integers_are_never_known_to_be_true() -> None:
    found = pointwise.same_place(bind(aten.bitwise_or.Tensor, (SURE, steps(2, 2, 2)), {}, steps(0, 0, 0)))
    assert found.true is None
    assert pointwise.same(bind(aten._to_copy.default, (SURE,), {}, steps(0, 0, 0))).true is None


def test_of_a_mask_in_integers_only_the_zeros_are_sure() -> None:
    known = Entries(X.latest, ZERO.zero, MASKED.low)
    assert pointwise.same(call(aten._to_copy.default, known)).low.any()
    found = pointwise.same(call(aten._to_copy.default, known, dtype=torch.long))
    assert torch.equal(found.zero, known.zero)
    assert not found.low.any()
