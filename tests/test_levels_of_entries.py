"""Samplers whose steps are computed once, all of a level together: the program's samples, and one sweep behind."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import fxsolve
from fxsolve.errors import ScheduleError
from tests.leveled import LEVELED, SIZE, far_back
from tests.samplers import Masked

TOLERANCE = 1e-9


@pytest.mark.parametrize("name", LEVELED)
@torch.no_grad()
def test_all_steps_of_a_level_are_computed_at_once(name: str, doubles: None) -> None:
    make, levels = LEVELED[name]
    program, inputs = make()
    fast = fxsolve.compile(program, inputs, schedule="incremental", backend="eager", tolerance=TOLERANCE)
    for seed in range(2):
        torch.manual_seed(seed)
        expected, after = program(*inputs), torch.rand(1)
        torch.manual_seed(seed)
        torch.testing.assert_close(fast(*inputs), expected, rtol=TOLERANCE, atol=TOLERANCE)
        assert torch.equal(torch.rand(1), after)
    runs = [run for run in fast.report().runs if run.method == "incremental"]
    assert [run.sweeps for run in runs] == [1] * len(levels)
    assert [str(fast.schedule).count(f", levels={count})") for count in set(levels)] == [len(levels)]
    said = " ".join(str(fast.report()).split())
    assert f"{levels[0]} levels of up to" in said
    assert "in every step whole" not in said


@torch.no_grad()
def test_weights_of_a_call_are_those_of_that_call(doubles: None) -> None:
    """What is zero in every run is that of masks, and no number of a weight."""
    program, inputs = LEVELED["made of a label"][0]()
    fast = fxsolve.compile(program, inputs, schedule="incremental", backend="eager", tolerance=TOLERANCE)
    fast(*inputs)
    changed = [torch.randn_like(one) for one in inputs]
    torch.testing.assert_close(fast(*changed), program(*changed), rtol=TOLERANCE, atol=TOLERANCE)


@torch.no_grad()
def test_the_text_of_a_schedule_says_how_many_levels_there_are() -> None:
    program, inputs = far_back()
    chosen = fxsolve.compile(program, inputs, schedule="incremental", backend="eager")
    chosen(*inputs)
    again = fxsolve.compile(program, inputs, schedule=str(chosen.schedule), backend="eager")
    again(*inputs)
    assert str(again.schedule) == str(chosen.schedule)
    assert "incremental(loop0[0:20], levels=5)" in str(chosen.schedule)


@torch.no_grad()
def test_as_many_levels_as_steps_are_steps_one_by_one() -> None:
    program, inputs = far_back()
    fast = fxsolve.compile(program, inputs, schedule="incremental(loop0[0:20], levels=20)", backend="eager")
    torch.testing.assert_close(fast(*inputs), program(*inputs))
    assert "levels=20" in str(fast.schedule)
    assert "levels of up to" not in str(fast.report())


@torch.no_grad()
def test_fewer_levels_than_there_are_run_in_order() -> None:
    program, inputs = far_back()
    fast = fxsolve.compile(program, inputs, schedule="incremental(loop0[0:20], levels=3)", backend="eager")
    assert torch.equal(fast(*inputs), program(*inputs))
    assert "incremental" not in str(fast.schedule)
    assert any("3 levels are fewer than the 5" in note for note in fast.report().notes)


@pytest.mark.parametrize("levels", [0, SIZE + 1])
@torch.no_grad()
def test_levels_that_make_no_sense_are_refused(levels: int) -> None:
    program, inputs = far_back()
    text = f"incremental(loop0[0:20], levels={levels})"
    with pytest.raises(ScheduleError, match="level"):
        fxsolve.compile(program, inputs, schedule=text, backend="eager")


class Triangle(nn.Module):
    """x_i = tanh(sum_j w_ij relu(sum_k v_jk x_k)) + noise_i, of which masks let any of the earlier entries through."""

    def __init__(self, masks: tuple[Tensor, Tensor]) -> None:
        super().__init__()
        self.first, self.second = map(Masked, masks)

    def forward(self, noise: Tensor) -> Tensor:
        x = torch.zeros_like(noise)
        for i in range(noise.shape[1]):
            x[:, i] = torch.tanh(self.second(F.relu(self.first(x))))[:, i] + noise[:, i]
        return x


def masks_of(seed: int, size: int, hidden: int) -> tuple[Tensor, Tensor]:
    """Hidden units that read some entries up to one of their own, and are read by some of those behind it."""
    draw = torch.Generator().manual_seed(seed)
    entries, degrees = torch.arange(size), torch.randint(0, size - 1, (hidden,), generator=draw)
    first, second = degrees[:, None] >= entries, entries[:, None] > degrees
    kept = [torch.rand(mask.shape, generator=draw) < 0.8 for mask in (first, second)]
    return first & kept[0], second & kept[1]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(4, 12), st.integers(1, 12))
@torch.no_grad()
def test_levels_are_exact_for_any_masks(seed: int, size: int, hidden: int) -> None:
    torch.manual_seed(seed)
    masks = masks_of(seed, size, hidden)
    model, noise = Triangle(masks).double(), torch.randn(3, size, dtype=torch.float64)
    text = f"incremental(loop0[0:{size}], levels={size - 1})"
    fast = fxsolve.compile(model, (noise,), schedule=text, backend="eager", tolerance=TOLERANCE)
    fast(noise)
    other = torch.randn_like(noise)
    torch.testing.assert_close(fast(other), model(other), rtol=TOLERANCE, atol=TOLERANCE)
    runs = [run for run in fast.report().runs if run.method == "incremental"]
    assert all(run.sweeps == 1 for run in runs)
