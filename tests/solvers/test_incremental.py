"""Values that were computed once and are wrong: sweeps mend them, and say how many draws they changed."""

from typing import Any

import pytest
import torch

import fxsolve
from fxsolve.report.text import report_text
from fxsolve.solvers import incremental
from tests.samplers import Fused, small_made, wave, words


def spoil(values: dict[int, torch.Tensor]) -> dict[int, torch.Tensor]:
    """Another value at steps 3 and 5."""
    return {k: stack.index_add(0, torch.tensor([3, 5]), torch.ones_like(stack[:2])) for k, stack in values.items()}


@torch.no_grad()
def test_draws_that_sweeps_change_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    program, inputs = words(Fused)
    fast = fxsolve.compile(program, inputs, schedule="incremental", backend="eager")
    compute_once = incremental.compute_once

    def spoiled(*given: Any) -> dict[int, torch.Tensor]:
        return spoil(compute_once(*given))

    for compute, changed in ((compute_once, 0), (spoiled, 2)):
        monkeypatch.setattr(incremental, "compute_once", compute)
        torch.manual_seed(3)
        expected = program(*inputs)
        torch.manual_seed(3)
        assert torch.equal(fast(*inputs), expected)
        (run,) = (run for run in fast.report().runs if run.method == "incremental")
        assert run.redrawn == changed
        assert f"draws of {changed} steps changed" in " ".join(report_text(fast.report(), width=200).split())


@torch.no_grad()
def test_of_real_numbers_there_is_nothing_to_count() -> None:
    program, inputs = wave()
    fast = fxsolve.compile(program, inputs, schedule="incremental", backend="eager")
    fast(*inputs)
    (run,) = (run for run in fast.report().runs if run.method == "incremental")
    assert run.redrawn is None


@torch.no_grad()
def test_what_is_no_number_reaches_no_step_before_it() -> None:
    """The sweep multiplies every entry by the zeros of the masks, and 0 times NaN is NaN."""
    size = 6
    net = small_made(size)

    def sample(noise: torch.Tensor) -> torch.Tensor:
        x = torch.zeros_like(noise)
        for i in range(size):
            x[:, i] = torch.sqrt(net(x)[:, i] + noise[:, i])
        return x

    noise = torch.full((2, size), 9.0)
    fast = fxsolve.compile(sample, (noise.clone(),), schedule="incremental", backend="eager")
    noise[1, 3] = -9.0
    expected = sample(noise)
    assert expected[:, :3].isfinite().all()
    assert expected[1, 3:].isnan().all()
    torch.testing.assert_close(fast(noise), expected, rtol=1e-6, atol=1e-6, equal_nan=True)
    (run,) = (run for run in fast.report().runs if run.method == "incremental")
    assert run.status == "finished sequentially"
