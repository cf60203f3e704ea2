"""Seconds on a nominal machine."""

import pytest
import torch

from fxsolve.economy.work import WorkCounter, counts_work


def seconds(run) -> float:
    with torch.no_grad(), WorkCounter() as counter:
        run()
    return counter.seconds


X = torch.ones(100, 100)


def test_the_same_calls_take_the_same_seconds() -> None:
    assert seconds(lambda: (X @ X).tanh()) == seconds(lambda: (X @ X).tanh())


def test_a_call_costs_itself_what_it_writes_and_what_its_products_compute() -> None:
    """2 us, 8 GB/s, 20 GFLOP/s."""
    assert seconds(lambda: X.t()) == pytest.approx(2e-6)
    assert seconds(lambda: X + 1) == pytest.approx(2e-6 + 4e4 / 8e9)
    assert seconds(lambda: X @ X) == pytest.approx(2e-6 + 4e4 / 8e9 + 2 * 100**3 / 2e10)


def test_work_is_counted_where_runs_are_to_be_alike() -> None:
    assert not counts_work()
    torch.use_deterministic_algorithms(True)
    try:
        assert counts_work()
    finally:
        torch.use_deterministic_algorithms(False)
