"""Both programs are timed in turn, from equal inputs, random numbers and state."""

import torch

from fxsolve.report.race import race, race_text


def inputs() -> tuple[tuple[torch.Tensor], dict[str, float]]:
    return (torch.zeros(3),), {"scale": 2.0}


def noisy(x: torch.Tensor, scale: float) -> torch.Tensor:
    return x.add_(scale * torch.randn(3))


def test_both_programs_get_equal_inputs_and_equal_random_numbers() -> None:
    result = race(noisy, noisy, inputs, 5, 0.0)
    assert result.check.bitwise
    assert result.original_seconds > 0
    assert result.emitted_seconds > 0


def test_the_programs_are_called_in_turn() -> None:
    order: list[str] = []

    def named(name: str):
        return lambda x, scale: order.append(name)

    race(named("original"), named("emitted"), inputs, 3, 0.0)
    assert order == ["original", "emitted"] * 3


def test_the_worst_of_all_calls_is_kept() -> None:
    seen = []

    def drifting(x: torch.Tensor, scale: float) -> torch.Tensor:
        seen.append(x)
        return noisy(x, scale) + (0.5 if len(seen) == 2 else 0.0)

    result = race(noisy, drifting, inputs, 4, 1e-6)
    assert abs(result.check.max_difference - 0.5) < 1e-6
    assert not result.check.bitwise
    assert "0.5 (tolerance 1e-06)" in race_text(result, "gs(cell)")


def test_the_text_has_the_schedule_the_ratio_and_the_number_of_calls() -> None:
    text = race_text(race(noisy, noisy, inputs, 2, 0.0), "gs(cell)")
    assert "gs(cell)" in text
    assert "medians of 2 calls each" in text
    assert "bitwise equal" in text


def test_both_programs_start_a_turn_from_equal_state_which_is_compared() -> None:
    state = torch.zeros(3)

    def total(x: torch.Tensor, scale: float) -> torch.Tensor:
        return state.add_(x + scale)

    assert race(total, total, inputs, 3, 0.0, [state]).check.bitwise
    assert torch.equal(state, torch.full((3,), 6.0))
    forgetful = race(total, lambda x, scale: state + x + scale, inputs, 1, 0.0, [state])
    assert forgetful.check.max_difference == 2.0
