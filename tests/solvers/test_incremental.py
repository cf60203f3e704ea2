"""Values that were computed once and are wrong: sweeps mend them, and say how many draws they changed."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn

import fxsolve
from fxsolve.report.text import report_text
from fxsolve.solvers import incremental
from fxsolve.solvers.iterate import State
from fxsolve.solvers.loop import Loop, LoopLag
from fxsolve.solvers.norms import Change
from fxsolve.solvers.rounding import steps_but_for_rounding
from fxsolve.solvers.window import Frontier, Given, open_window
from tests.samplers import Fused, small_made, wave, words


def spoil(values: Mapping[int, torch.Tensor]) -> dict[int, torch.Tensor]:
    """Another value at steps 3 and 5."""
    return {k: stack.index_add(0, torch.tensor([3, 5]), torch.ones_like(stack[:2])) for k, stack in values.items()}


@torch.no_grad()
def test_draws_that_sweeps_change_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    program, inputs = words(Fused)
    fast = fxsolve.compile(program, inputs, schedule="incremental", backend="eager")
    compute_once = incremental.compute_once

    def spoiled(*given: Any) -> Mapping[int, torch.Tensor]:
        return spoil(compute_once(*given)) if len(given) == 2 else compute_once(*given)

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


def flip(monkeypatch: pytest.MonkeyPatch, steps: dict[int, int]) -> None:
    """Let a step draw another word, as rounding may: so many times for each of the steps."""
    run = incremental.StageRun.__call__
    left = dict(steps)

    def flipped(self: Any, t: int, kept: Any, given: Any) -> tuple[torch.Tensor, ...]:
        made = run(self, t, kept, given)
        if made and left.get(t, 0) > 0:
            left[t] -= 1
            return tuple((value < 1).long() if value.dtype == torch.int64 else value * 1.5 for value in made)
        return made

    monkeypatch.setattr(incremental.StageRun, "__call__", flipped)


@pytest.mark.parametrize(
    ("steps", "sweeps"), [({}, 1), ({4: 1}, 2), ({4: 1, 5: 1}, 2), ({4: 1, 7: 2}, 3), ({7: 1, 4: 9}, 2)]
)
@pytest.mark.parametrize("make", [lambda: words(Fused), wave], ids=["words", "wave"])
@torch.no_grad()
def test_what_rounding_drew_otherwise_is_repaired_in_order(
    make: Any, steps: dict[int, int], sweeps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, inputs = make()
    fast = fxsolve.compile(program, inputs, schedule="incremental", backend="eager")
    flip(monkeypatch, steps)
    torch.manual_seed(3)
    expected = program(*inputs)
    torch.manual_seed(3)
    torch.testing.assert_close(fast(*inputs), expected)
    (run,) = (run for run in fast.report().runs if run.method == "incremental")
    assert run.sweeps == sweeps


@torch.no_grad()
def test_where_only_rounding_is_left_nothing_is_computed_in_order_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bitwise test lets no rounding pass, and only sweeps end it."""
    program, inputs = wave()
    fast = fxsolve.compile(program, inputs, schedule="incremental(loop0, atol=0, rtol=0)", backend="eager")
    computed, compute_once = [], incremental.compute_once

    def near(*given: Any) -> Mapping[int, torch.Tensor]:
        computed.append(len(given))
        return {k: stack * (1 + 2e-7) for k, stack in compute_once(*given).items()}

    monkeypatch.setattr(incremental, "compute_once", near)
    torch.manual_seed(3)
    expected = program(*inputs)
    torch.manual_seed(3)
    torch.testing.assert_close(fast(*inputs), expected)
    (run,) = (run for run in fast.report().runs if run.method == "incremental")
    assert run.sweeps > 1
    assert computed == [2]


@torch.no_grad()
def test_where_every_step_is_drawn_otherwise_sweeps_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    program, inputs = words(Fused)
    fast = fxsolve.compile(program, inputs, schedule="incremental", backend="eager")
    flip(monkeypatch, dict.fromkeys(range(1, 99), 99))
    torch.manual_seed(3)
    expected = program(*inputs)
    torch.manual_seed(3)
    assert torch.equal(fast(*inputs), expected)
    (run,) = (run for run in fast.report().runs if run.method == "incremental")
    assert run.sweeps > 5


def test_steps_that_changed_by_more_than_rounding_end_what_is_known() -> None:
    loop = Loop(nn.Identity(), 5, (LoopLag(0, 1),))
    window = open_window(Given(loop, (), ()), Frontier(0, (torch.zeros(1, 3),), ()), 5)
    point = torch.rand(5, 3) + 1
    point[4] *= 1 + 1e-7
    outputs = point.clone()
    outputs[1:] *= 1 + 2e-7
    change = Change(1.0, converged=False, exact=False, finite=True)
    assert steps_but_for_rounding(State(window, {0: point}, (outputs,), change, (1.0,))) == 5
    outputs[3, 1] += 1e-3
    assert steps_but_for_rounding(State(window, {0: point}, (outputs,), change, (1.0,))) == 3
