"""Recorded at two lengths, or for two integers, a program serves all others without another recording."""

import pytest
import torch
from torch import Tensor, nn

import fxsolve

N = 4
CELL = nn.GRUCell(N, N)


def recurrence(x: Tensor) -> Tensor:
    h, states = x.new_zeros(x.shape[1], N), []
    for x_t in x:
        h = CELL(x_t, h)
        states.append(h)
    return torch.stack(states)


def noisy(x: Tensor) -> Tensor:
    h = x[0]
    for t in range(len(x)):
        h = torch.tanh(h + x[t] + torch.randn(x.shape[1], N))
    return h


def compiled(program, lengths: tuple[int, ...]) -> fxsolve.Compiled:
    fast = fxsolve.compile(program, backend="eager", schedule="gs")
    for length in lengths:
        fast(torch.randn(length, 2, N))
    return fast


def was_recorded(fast: fxsolve.Compiled) -> bool:
    """Whether what runs now was recorded at the length of the last call; never that the original runs."""
    assert fast.report().status == "emitted", fast.report().reason
    return "capture" in dict(fast.report().seconds)


@pytest.fixture(autouse=True)
def _without_gradients():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("program", [recurrence, noisy])
def test_a_third_length_is_not_recorded_and_gives_the_same_values(program) -> None:
    fast = compiled(program, (6, 9))
    for length in (5, 40):
        x = torch.randn(length, 2, N)
        for _ in range(2):  # the call that checks, and one that runs what was emitted
            torch.manual_seed(1)
            found, after = fast(x), torch.get_rng_state()
            torch.manual_seed(1)
            assert torch.equal(found, program(x))
            assert torch.equal(after, torch.get_rng_state())
        assert not was_recorded(fast)
        assert {loop.length for loop in fast.report().loops} == {length}
        assert any("not recorded" in note for note in fast.report().notes)


def test_a_program_that_differs_at_the_third_length_is_recorded() -> None:
    def program(x: Tensor) -> Tensor:
        return recurrence(x) if len(x) < 20 else recurrence(x) * 2

    fast = compiled(program, (6, 9))
    x = torch.randn(30, 2, N)
    for _ in range(2):
        assert torch.equal(fast(x), program(x))
    assert was_recorded(fast)


def test_another_batch_size_as_well_is_recorded() -> None:
    fast = compiled(recurrence, (6, 9))
    for _ in range(2):
        x = torch.randn(12, 5, N)
        assert torch.equal(fast(x), recurrence(x))
    assert was_recorded(fast)


def test_other_draws_at_the_third_length_are_recorded_with_the_same_samples() -> None:
    def program(x: Tensor) -> Tensor:
        start = noisy(x)
        return start + torch.rand(2, N) if len(x) > 20 else start

    assert_recorded_with_its_samples(program)


def assert_recorded_with_its_samples(program) -> None:
    """At a third length, by the call that records and by one that runs what was emitted."""
    fast = compiled(program, (6, 9))
    for seed in (3, 4):
        x = torch.randn(30, 2, N)
        torch.manual_seed(seed)
        found = fast(x)
        torch.manual_seed(seed)
        assert torch.equal(found, program(x))
    assert was_recorded(fast)


def unrolled(x: Tensor, steps: int) -> Tensor:
    for t in range(steps):
        x = x + torch.tanh(x * t) / steps
    return x


def quantized(x: Tensor, bits: int) -> Tensor:
    for _ in range(6):
        x = torch.clamp(torch.round(x * 1.5), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return x


def with_counters(x: Tensor, steps: int) -> tuple[Tensor, int]:
    h = x[0]
    for t in range(steps):
        h = torch.tanh(h + x[t] * torch.full((N,), t) - torch.tensor([t, 1.0, steps, 0.5]))
    return h, steps * 3


@pytest.mark.parametrize("program", [unrolled, quantized, with_counters])
def test_a_third_integer_is_not_recorded(program) -> None:
    fast = fxsolve.compile(program, backend="eager", schedule="gs")
    for count in (6, 9, 1, 2, 3, 30):
        for scale in (1.0, 1e6):  # the call that checks, and one whose values reach every limit
            x = scale * torch.randn(30, N)
            torch.testing.assert_close(fast(x, count), program(x, count), rtol=0, atol=0)
        assert was_recorded(fast) == (count in (6, 9))


def test_a_flag_that_changes_the_program_is_recorded() -> None:
    def program(x: Tensor, mode: int) -> Tensor:
        h = recurrence(x)
        return h.sum(0) if mode == 2 else h * mode

    fast = fxsolve.compile(program, backend="eager", schedule="gs")
    x = torch.randn(7, 2, N)
    for mode in (0, 1, 2):
        for _ in range(2):
            assert torch.equal(fast(x, mode), program(x, mode))
        assert was_recorded(fast)


def test_a_rejected_guess_leaves_the_samples_alone() -> None:
    def program(x: Tensor) -> Tensor:
        return noisy(x) * (torch.tanh(x[-1]) if len(x) > 20 else 1.0)

    assert_recorded_with_its_samples(program)


def test_the_cost_of_a_check_is_told() -> None:
    fast = compiled(recurrence, (6, 9, 40))
    seconds = dict(fast.report().seconds)
    assert "run" in seconds
    assert any("against one run of the program, which took" in note for note in fast.report().notes)


class WritesAtLongInputs(nn.Module):
    """Counts long inputs in a tensor that is neither a parameter nor a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.long_inputs = torch.zeros(1)

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 8:
            self.long_inputs.add_(1)
        h = torch.zeros_like(x[0])
        for x_t in x:
            h = torch.tanh(h * 0.5 + x_t)
        return h


@torch.no_grad()
def test_a_write_into_an_attribute_at_a_new_length_is_made_once() -> None:
    ours, theirs = WritesAtLongInputs(), WritesAtLongInputs()
    fast = fxsolve.compile(ours, schedule="gs", backend="eager")
    for length in (5, 7, 11, 11, 12):
        x = torch.randn(length, 2)
        assert torch.equal(fast(x), theirs(x))
        assert ours.long_inputs == theirs.long_inputs
    assert fast.report().status == "emitted"
