"""Recorded at two lengths, a program has right gradients at all others without another recording."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxsolve
from tests.cells import BATCH, CELLS, FEATURES, Dropped, LstmCell, Tanh, assert_close, assert_emitted, gradients, pair


def at(length: int) -> Tensor:
    return torch.randn(BATCH, length, FEATURES, dtype=torch.float64)


def was_recorded(fast: fxsolve.Compiled) -> bool:
    return "capture" in dict(fast.report().seconds)


def compare(fast: Any, original: nn.Module, lengths: tuple[int, ...]) -> None:
    """The same gradients at each length, by the call that checks and by one that runs what was emitted."""
    for length in lengths:
        for seed in range(2):
            x, found = at(length), []
            for model in (fast, original):
                torch.manual_seed(seed)
                found.append(gradients(model, x))
            assert_close(*found, 1e-10)
        assert_emitted(fast)


@pytest.mark.parametrize(
    ("cell", "schedule"), [*((cell, "gs") for cell in [*CELLS, Dropped]), (CELLS[0], "jacobi"), (Dropped, "jacobi")]
)
def test_a_third_length_is_not_recorded(cell: Callable[[], nn.Module], schedule: str) -> None:
    fast, original = pair(cell, schedule=schedule)
    compare(fast, original, (9, 13))
    for length in (21, 8):
        compare(fast, original, (length,))
        assert not was_recorded(fast)
        assert schedule in str(fast.schedule)


def test_a_declared_length_is_not_recorded_at_all() -> None:
    torch.manual_seed(0)
    original = LstmCell().double()
    fast = fxsolve.compile(original, schedule="gs", backend="eager", dynamic_shapes={"x": {1: "time"}})
    compare(fast, original, (40,))
    assert not was_recorded(fast)
    assert {loop.length for loop in fast.report().loops} == {38, 40}


class Clipped(nn.Module):
    """Clips the gradients of long sequences, which the values do not show."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = Tanh()

    def forward(self, x: Tensor) -> Tensor:
        states, last = self.rnn(x)
        if len(x[0]) > 20 and last.requires_grad:
            last.register_hook(lambda gradient: gradient.clamp(-0.1, 0.1))
        return states + last[:, None]


def test_a_backward_pass_that_differs_at_the_third_length_is_recorded() -> None:
    fast, original = pair(Clipped)
    compare(fast, original, (9, 13, 25))
    assert was_recorded(fast)


class Longer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = Tanh()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        states, last = self.rnn(x)
        return states, last if len(x[0]) < 20 else last.detach()


def test_other_results_with_gradients_at_the_third_length_are_recorded() -> None:
    fast, original = pair(Longer)
    compare(fast, original, (9, 13))
    for _ in range(2):
        x = at(25)
        states, last = fast(x)
        assert not last.requires_grad
        assert torch.equal(states, original(x)[0])
    assert was_recorded(fast)
    assert_emitted(fast)


def test_an_argument_computed_from_a_parameter_counts_for_itself_at_every_length() -> None:
    fast, original = pair(Tanh)
    for length in (9, 13, 21, 21):
        x, found = torch.randn(BATCH, length, fast.U.shape[1], dtype=torch.float64), []
        for model in (fast, original):
            model.zero_grad()
            model(x @ model.U.t())[1].sum().backward()
            found.append([p.grad for p in model.parameters()])
        assert_close(*found, 1e-10)
    assert_emitted(fast)
    assert not was_recorded(fast)


def test_a_length_at_which_a_place_would_count_from_the_end_is_recorded_anew() -> None:
    """Row T - 4 of what the backward loop made is that before it at T = 3, where the first batch cannot tell."""

    def advantages(rewards: Tensor, values: Tensor, goes_on: Tensor) -> Tensor:
        found, advantage = [], torch.zeros_like(rewards[0])
        for t in reversed(range(len(rewards))):
            delta = rewards[t] + 0.99 * values[t + 1] * goes_on[t] - values[t]
            advantage = delta + 0.94 * goes_on[t] * advantage
            found.append(advantage)
        return torch.stack(found)

    fast = fxsolve.compile(advantages, schedule="gs", backend="eager", on_left_alone="ignore")
    for length, share in ((25, 0.8), (25, 0.8), (26, 0.8), (26, 0.8), (3, 0.0), (3, 1.0), (3, 1.0)):
        rewards, goes_on = torch.randn(length, BATCH), (torch.rand(length, BATCH) < share).float()
        values, weights = torch.randn(length + 1, BATCH, requires_grad=True), torch.randn(length, BATCH)
        found = [torch.autograd.grad(run(rewards, values, goes_on), values, weights) for run in (fast, advantages)]
        torch.testing.assert_close(*found)
