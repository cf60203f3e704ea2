"""Several backward passes at once give what they give one by one, at any level of batching."""

from typing import Any

import torch
from torch import Tensor
from torch._vmap_internals import _vmap

import fxsolve
from fxsolve.runtime.batched import are_batched, derive_each
from fxsolve.runtime.gradients import Derivatives, Gradients
from tests.runtime.building import numbers, recurrence, wanted

CLOSE: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-12}


def derive(cotangents: Gradients) -> Derivatives:
    """As a backward pass does: of ordinary tensors, and None for what depends on none of them."""
    assert not are_batched(cotangents)
    first, second = cotangents
    return Derivatives((None if first is None else first.cumsum(0), None), (None if second is None else second * 2,))


def test_ordinary_tensors_are_no_batch() -> None:
    assert not are_batched((numbers(2), None))
    assert not are_batched((None,))


def test_each_entry_is_derived_alone() -> None:
    x, single = numbers(4, 3), numbers(3)

    def batched(entries: Tensor) -> tuple[Tensor, Tensor]:
        assert are_batched((None, entries))
        found = derive_each(derive, (entries, single))
        assert found.gradients[0] is not None
        assert found.gradients[1] is None
        assert found.totals[0] is not None
        return found.gradients[0], found.totals[0]

    gradients, totals = _vmap(batched)(x)
    assert torch.equal(gradients, x.cumsum(1))
    assert torch.equal(totals, (single * 2).expand(4, 3))


def test_what_none_of_the_entries_has_is_none() -> None:
    def batched(x: Tensor) -> Tensor:
        found = derive_each(derive, (x, None))
        assert found.totals == (None,)
        assert found.gradients[0] is not None
        return found.gradients[0]

    x = numbers(4, 3)
    assert torch.equal(_vmap(batched)(x), x.cumsum(1))


def test_batches_of_batches_are_taken_apart_from_the_inside() -> None:
    def derive_any(cotangents: Gradients) -> Derivatives:
        return derive_each(derive_any, cotangents) if are_batched(cotangents) else derive(cotangents)

    def batched(x: Tensor) -> Tensor:
        found = derive_any((x, None)).gradients[0]
        assert found is not None
        return found

    x = numbers(4, 5, 3)
    assert torch.equal(_vmap(_vmap(batched))(x), x.cumsum(2))


def test_a_jacobian_by_batched_gradients_is_that_of_the_program() -> None:
    def program(x: Tensor) -> Tensor:
        return recurrence(x).sum(0)

    fast = fxsolve.compile(program, schedule="gs", backend="eager")
    for _ in range(2):
        x = wanted(6, 2)
        found = torch.autograd.functional.jacobian(fast, x, vectorize=True)
        expected = torch.autograd.functional.jacobian(program, x)
        torch.testing.assert_close(found, expected, **CLOSE)  # pyright: ignore
    assert fast.report().status == "emitted"
