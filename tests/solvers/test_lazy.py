"""Values keep what they are when their flags change."""

from itertools import product

import pytest
import torch
from torch import Tensor

from fxsolve.solvers.lazy import as_lazy, without_flags
from fxsolve.torch_compat.tensors import negative_view

FLAGS = list(product((False, True), repeat=2))


def flagged(conjugated: bool, negated: bool) -> Tensor:
    """1 + 2j, written in each of the four ways."""
    held = torch.tensor([1 + 2j])
    held = -held if negated else held
    held = held.conj_physical() if conjugated else held
    held = held.conj() if conjugated else held
    return negative_view(held) if negated else held


@pytest.mark.parametrize("before", FLAGS)
@pytest.mark.parametrize("after", FLAGS)
def test_values_have_the_flags_that_are_wanted_and_stay_what_they_are(
    before: tuple[bool, bool], after: tuple[bool, bool]
) -> None:
    values = flagged(*before)
    assert ((values.is_conj(), values.is_neg()), values.tolist()) == (before, [1 + 2j])
    found = as_lazy(values, *after)
    assert ((found.is_conj(), found.is_neg()), found.tolist()) == (after, [1 + 2j])
    assert (found is values) == (before == after)


def test_a_real_tensor_is_negated_lazily_as_the_imaginary_part_of_a_conjugate_is() -> None:
    part = torch.tensor([1 + 2j]).conj().imag
    assert part.is_neg()
    found = as_lazy(torch.tensor([-2.0]), False, True)
    assert found.is_neg()
    assert torch.equal(found, part)
    assert not as_lazy(part, False, False).is_neg()


def test_without_flags_the_values_are_the_same_and_what_has_none_is_the_same_tensor() -> None:
    plain = flagged(False, False)
    for values in (flagged(*flags) for flags in FLAGS):
        one, other = without_flags([values, plain])
        assert (one.is_conj(), one.is_neg()) == (False, False)
        assert other is plain
        assert torch.equal(one, plain)
