"""Windows that slide and recompute what they may change alone: the program's samples, and one sweep behind them."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, fx

import fxsolve
from fxsolve.errors import ScheduleError
from fxsolve.lower.incremental.build import incremental_program
from fxsolve.solvers import lookahead
from fxsolve.solvers.incremental import Stage, StepProgram
from fxsolve.solvers.iterate import Solved
from fxsolve.solvers.step_order import Lookahead
from fxsolve.solvers.stop import Stop
from fxsolve.solvers.window import Window
from tests.leveled import LEVELED, far_back
from tests.lower.incremental.steps import sampler
from tests.plan.test_causal_networks import CAUSAL
from tests.samplers import SAMPLERS, small_made, wave
from tests.test_levels_of_entries import Triangle, masks_of

NETWORKS = {**CAUSAL, **SAMPLERS, **{f"levels, {name}": make for name, (make, _) in LEVELED.items()}}
TOLERANCE = 1e-9
INCREMENTAL = re.compile(r"incremental\((\w+)\[0:(\d+)\](, levels=\d+)?")


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> list[Solved]:
    """What came of windows, before the sweeps that confirm it; they go on where a sweep changed nothing at all."""
    seen: list[Solved] = []
    look = lookahead.look_ahead

    def noted(program: StepProgram, window: Window, stop: Stop) -> Solved:
        seen.append(look(program, window, Stop()))
        return seen[-1]

    monkeypatch.setattr(lookahead, "look_ahead", noted)
    return seen


def schedule_of(program: Callable[..., Any], inputs: tuple[Tensor, ...], width: int) -> str:
    """The incremental schedule with a lookahead, of all steps where they are fewer."""
    plain = fxsolve.compile(program, inputs, schedule="incremental", backend="eager")
    plain(*inputs)
    return INCREMENTAL.sub(
        lambda found: f"incremental({found[1]}[0:{found[2]}], lookahead={min(width, int(found[2]))}",
        str(plain.schedule),
    )


def check(
    program: Callable[..., Any], inputs: tuple[Tensor, ...], schedule: str, ahead: list[Solved]
) -> list[tuple[int, int]]:
    """(sweeps, steps) of each loop that looked ahead, whose one sweep behind found nothing to mend."""
    fast = fxsolve.compile(program, inputs, schedule=schedule, backend="eager", tolerance=TOLERANCE)
    torch.manual_seed(1)
    expected, after = program(*inputs), torch.rand(1)
    ahead.clear()
    torch.manual_seed(1)
    torch.testing.assert_close(fast(*inputs), expected, rtol=TOLERANCE, atol=TOLERANCE)
    assert torch.equal(torch.rand(1), after)
    assert str(fast.schedule) == schedule
    runs = [run for run in fast.report().runs if run.method == "lookahead"]
    assert len(runs) == len(ahead) > 0
    assert [run.sweeps for run in runs] == [one.sweeps + 1 for one in ahead]
    return [(one.sweeps, len(one.outputs[0])) for one in ahead]


def with_states(size: int = 12) -> tuple[Callable[..., Any], tuple[Tensor, ...]]:
    """Beside the canvas, a state of one step and one of the step before that."""
    net = small_made(size)

    def sample(noise: Tensor) -> tuple[Tensor, Tensor]:
        x, h, g = torch.zeros_like(noise), torch.zeros(2), torch.ones(2)
        for i in range(size):
            y = torch.tanh(net(x)[:, i] + noise[:, i] + 0.3 * h)
            x[:, i] = y
            h, g = torch.tanh(0.5 * g + y), h
        return x, h

    return sample, (torch.randn(2, size),)


@pytest.mark.parametrize("width", [1, 3, 12])
@torch.no_grad()
def test_states_of_steps_come_with_the_window(width: int, doubles: None, ahead: list[Solved]) -> None:
    program, inputs = with_states()
    check(program, inputs, schedule_of(program, inputs, width), ahead)


@torch.no_grad()
def test_compiled_stages_draw_the_same() -> None:
    program, inputs = SAMPLERS["words, fused attention"]()
    text = "incremental(loop0[0:9], lookahead=3, unroll=1)"
    fast = fxsolve.compile(program, inputs, schedule=text, mode="max-autotune")
    torch.manual_seed(1)
    expected = program(*inputs)
    torch.manual_seed(1)
    assert torch.equal(fast(*inputs), expected)
    assert text in str(fast.schedule)


@pytest.mark.parametrize("width", [1, 3, 8])
@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_windows_settle_and_the_sweep_behind_changes_nothing(
    name: str, width: int, doubles: None, ahead: list[Solved]
) -> None:
    program, inputs = NETWORKS[name]()
    for sweeps, steps in check(program, inputs, schedule_of(program, inputs, width), ahead):
        assert sweeps <= steps


@pytest.mark.parametrize(("width", "expected"), [(1, 20), (4, 8), (8, 6), (20, 6)])
@torch.no_grad()
def test_a_window_begins_behind_the_steps_that_settled(
    width: int, expected: int, doubles: None, ahead: list[Solved]
) -> None:
    """Steps read what lies four steps back or farther, so each sweep settles four."""
    program, inputs = far_back()
    schedule = schedule_of(program, inputs, width)
    assert check(program, inputs, schedule, ahead) == [(expected, 20)]


@torch.no_grad()
def test_steps_that_write_what_stood_there_settle_no_others(doubles: None, ahead: list[Solved]) -> None:
    """The first steps leave zeros; what the first sweep makes of those behind them has to be right all the same."""
    size = 8
    net = small_made(size)

    def sample(factors: Tensor) -> Tensor:
        x = torch.zeros(2, size)
        for i in range(size):
            x[:, i] = (torch.tanh(net(x)[:, i]) + 1) * factors[:, i]
        return x

    factors = torch.ones(2, size)
    factors[:, :2] = 0
    check(sample, (factors,), schedule_of(sample, (factors,), 4), ahead)


@pytest.mark.parametrize("name", ["words, fused attention", "words in slices", "pixels, drawn as a whole"])
@pytest.mark.parametrize("width", [1, 2, 3, 4])
@torch.no_grad()
def test_windows_slide_as_those_whose_sweeps_compute_everything(name: str, width: int, ahead: list[Solved]) -> None:
    program, inputs = SAMPLERS[name]()
    schedule = schedule_of(program, inputs, width)
    whole = re.sub(r"incremental\((\w+\[0:\d+\]), lookahead=", r"jacobi(\1, window=", schedule)
    kept, swept = (fxsolve.compile(program, inputs, schedule=text, backend="eager") for text in (schedule, whole))
    for seed in range(4):
        ahead.clear()
        for fast in (kept, swept):
            torch.manual_seed(seed)
            fast(*inputs)
        (sliding,) = (run for run in swept.report().runs if run.method == "sliding")
        assert [one.sweeps for one in ahead] == [sliding.sweeps]


@pytest.mark.parametrize("width", [2, 5])
@torch.no_grad()
def test_a_sweep_computes_the_entries_that_the_window_may_change_and_no_others(width: int) -> None:
    """Each layer of a WaveNet computes as many entries as the window has steps, whatever the length of the loop."""
    length = 40
    repeat, structural = sampler(*wave(length))
    program = incremental_program(repeat, structural, Lookahead(length, width))
    assert program.whole == ()
    bodies = [one.body for one in program.stages if isinstance(one, Stage) and len(one.steps) > width]
    graphs = [body.graph for body in bodies if isinstance(body, fx.GraphModule)]
    calls = [node for graph in graphs for node in graph.find_nodes(op="call_function", target=torch.sigmoid)]
    assert calls
    assert {node.meta["val"].shape[0] for node in calls} <= {width, width + 1}


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(4, 12), st.integers(1, 12), st.integers(1, 12))
@torch.no_grad()
def test_windows_are_exact_for_any_masks(seed: int, size: int, hidden: int, width: int) -> None:
    torch.manual_seed(seed)
    model = Triangle(masks_of(seed, size, hidden)).double()
    text = f"incremental(loop0[0:{size}], lookahead={min(width, size)})"
    fast = fxsolve.compile(model, (torch.randn(3, size).double(),), schedule=text, backend="eager", tolerance=TOLERANCE)
    noise = torch.randn(3, size).double()
    torch.testing.assert_close(fast(noise), model(noise), rtol=TOLERANCE, atol=TOLERANCE)
    (run,) = (run for run in fast.report().runs if run.method == "lookahead")
    assert run.sweeps <= size + 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("incremental(loop0[0:20], lookahead=21)", "looks ahead 21 steps"),
        ("incremental(loop0[0:20], levels=5, lookahead=4)", "levels and looks ahead"),
        ("incremental(loop0[0:20], lookahead=0)", "at least one step"),
    ],
)
@torch.no_grad()
def test_windows_that_make_no_sense_are_refused(text: str, message: str) -> None:
    program, inputs = far_back()
    with pytest.raises(ScheduleError, match=message):
        fxsolve.compile(program, inputs, schedule=text, backend="eager")


@torch.no_grad()
def test_values_that_are_no_numbers_end_windows_in_order() -> None:
    size = 6
    net = small_made(size)

    def sample(noise: Tensor) -> Tensor:
        x = torch.zeros_like(noise)
        for i in range(size):
            x[:, i] = torch.sqrt(net(x)[:, i] + noise[:, i])
        return x

    noise = torch.full((2, size), 9.0)
    text = schedule_of(sample, (noise.clone(),), 3)
    fast = fxsolve.compile(sample, (noise.clone(),), schedule=text, backend="eager")
    noise[1, 3] = -9.0
    torch.testing.assert_close(fast(noise), sample(noise), rtol=1e-6, atol=1e-6, equal_nan=True)
    (run,) = (run for run in fast.report().runs if run.method == "lookahead")
    assert run.status == "finished sequentially"
