"""How far an emitted module may be from the program: rounding, and what stop tests leave behind, and no more."""

import pytest
import torch
from torch import Tensor

from fxsolve.report.difference import within
from fxsolve.runtime.agreement import check, check_gradients, tolerance_of

EPS = torch.finfo(torch.float64).eps


def double(*entries: float) -> Tensor:
    return torch.tensor(entries, dtype=torch.float64)


@pytest.mark.parametrize(
    ("tensors", "stop", "expected"),
    [
        ((double(0.5),), 0.0, 100 * EPS),
        ((double(-8.0, 2.0),), 0.0, 800 * EPS),
        ((double(4.0),), 1e-3, 4 * (100 * EPS + 1e-2)),
        ((double(4.0), torch.ones(1)), 0.0, 400 * torch.finfo(torch.float32).eps),
        ((double(4.0, torch.inf, torch.nan),), 0.0, 400 * EPS),
        ((torch.tensor([3, 500]),), 0.0, 0.0),
        ((torch.tensor([True]),), 1e-3, 1e-2),
        ((double(),), 0.0, 100 * EPS),
        ((), 0.0, 0.0),
    ],
)
def test_the_tolerance_is_rounding_and_stop_tests_at_the_scale_of_the_entries(
    tensors: tuple[Tensor, ...], stop: float, expected: float
) -> None:
    assert tolerance_of(tensors, stop) == pytest.approx(expected, rel=1e-12)


def test_results_agree_within_the_tolerance_and_not_beyond() -> None:
    recorded = (double(1.0, 2.0),)
    assert within(check((recorded[0] + 190 * EPS,), recorded, 0.0))
    assert not within(check((recorded[0] + 220 * EPS,), recorded, 0.0))
    assert within(check((recorded[0] + 1.9e-3,), recorded, 1e-4))
    assert not within(check((recorded[0] + 2.1e-3,), recorded, 1e-4))


def test_integers_and_missing_numbers_must_be_the_same() -> None:
    assert within(check((torch.tensor([1, 2]),), (torch.tensor([1, 2]),), 0.0))
    assert not within(check((torch.tensor([1, 3]),), (torch.tensor([1, 2]),), 0.0))
    assert within(check((double(torch.nan),), (double(torch.nan),), 0.0))
    assert not within(check((double(0.0),), (double(torch.nan),), 0.0))


def test_a_gradient_is_measured_by_its_own_largest_entry_and_a_tenth_of_the_largest_of_all() -> None:
    recorded = (double(1000.0), double(1e-6))
    assert within(check_gradients((double(1000.0), double(1e-6 + 90_000 * EPS)), recorded, 0.0))
    assert not within(check_gradients((double(1000.0), double(1e-6 + 110_000 * EPS)), recorded, 0.0))
    assert within(check_gradients((double(1000.0 + 1.0e6 * EPS), double(1e-6)), recorded, 0.0))
    assert not within(check_gradients((double(1000.0 + 1.2e6 * EPS), double(1e-6)), recorded, 0.0))


def test_gradients_that_are_all_zero_are_measured_by_one() -> None:
    recorded = (double(0.0, 0.0),)
    assert within(check_gradients((double(0.0, 900 * EPS),), recorded, 0.0))
    assert not within(check_gradients((double(0.0, 1100 * EPS),), recorded, 0.0))
