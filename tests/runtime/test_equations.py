"""The equations that options are about, who may have decided about them, and what is shown of them."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.errors import InputError, PlanError, ScheduleError
from fxsolve.ir.fingerprint import fingerprint
from fxsolve.report.data import PlannedReport
from fxsolve.runtime.entries import Options
from fxsolve.runtime.equations import partition_for
from fxsolve.runtime.memory import Memory
from fxsolve.runtime.pictures import draw, save
from fxsolve.runtime.plans import SavedPlan, read_plan
from fxsolve.runtime.sources import Nowhere
from fxsolve.runtime.straight_code import names_blocks, structure_of
from fxsolve.runtime.verdict import Verdict
from fxsolve.runtime.whose import source_of
from fxsolve.stages import Clock
from tests.runtime.building import numbers, recorded, recurrence


@torch.no_grad()
def products(x: Tensor) -> Tensor:
    """x_t W for every t: one product of all steps rounds otherwise."""
    weight, h = torch.eye(2, dtype=torch.float64) / 3, torch.zeros(2, dtype=torch.float64)
    states = []
    for row in x:
        h = torch.tanh(h + row @ weight)
        states.append(h)
    return torch.stack(states)


def names(options: Options) -> list[str]:
    return [one.name for one in partition_for(recorded(products, numbers(8, 2)), options).system.equations]


def test_an_automatic_choice_may_round_otherwise_unless_the_tolerance_is_zero() -> None:
    exact = names(Options(tolerance=0))
    assert names(Options("gs")) == exact
    assert names(Options(f"gs({', '.join(exact)})")) == exact


def test_the_text_of_what_was_chosen_can_be_given() -> None:
    chosen = names(Options())
    assert names(Options(f"gs({', '.join(chosen)})")) == chosen


@torch.no_grad()
def test_the_machine_remembers_what_nobody_asked_for_by_name() -> None:
    program = recorded(recurrence, numbers(8, 2))
    graph = fingerprint(fxsolve.partition(program).system)
    assert isinstance(source_of(program, Options("gs"), graph), Nowhere)
    assert isinstance(source_of(program, Options(), graph), Memory)


PLAN = SavedPlan("p.json", "net", (PlannedReport("f32[3]", "gs(cell)", 1e-6, "", (("cell", "a"), ("head", "b"))),))


def test_a_plan_decides_about_its_own_systems() -> None:
    found = PLAN.verdict_about((("cell", "a"), ("head", "b")), ())
    assert found == Verdict("gs(cell)", 1e-6, "", "the plan p.json")


def test_for_any_other_it_says_what_differs() -> None:
    with pytest.raises(PlanError, match=r"with \(f32\[3\]\), .*other ops or sizes in head; not in the plan: tail"):
        PLAN.verdict_about((("cell", "a"), ("head", "c"), ("tail", "d")), ())


def test_a_file_that_is_no_plan_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone.json: No such file"):
        read_plan(tmp_path / "gone.json")
    (tmp_path / "other.json").write_text("[1, 2]")
    with pytest.raises(InputError, match=r"other\.json is no plan"):
        read_plan(tmp_path / "other.json")


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).tanh())


@torch.no_grad()
def test_the_structure_of_straight_code_has_a_time_for_every_block() -> None:
    program = recorded(Layers(), torch.randn(2, 4))
    system = fxsolve.partition(program).system
    clock = Clock()
    found = structure_of(program, system, clock)
    assert found is not None
    assert [block.name for block in found.blocks] == [one.name for one in system.equations]
    assert all(block.seconds > 0 for block in found.blocks)
    assert clock.seconds["structure"] > 0


@torch.no_grad()
def test_of_a_loop_there_is_none() -> None:
    program = recorded(recurrence, numbers(8, 2))
    assert structure_of(program, fxsolve.partition(program).system, Clock()) is None


@torch.no_grad()
def test_it_is_known_whether_a_schedule_solves_blocks() -> None:
    system = fxsolve.partition(recorded(Layers(), torch.randn(2, 4))).system
    assert [names_blocks(system, text, None) for text in ("auto", "gs", "jacobi", "levels")] == [
        False,
        False,
        True,
        True,
    ]
    with pytest.raises(ScheduleError):
        names_blocks(system, "gs(nothing)", None)


@torch.no_grad()
def test_what_runs_is_drawn_and_saved(tmp_path: Path) -> None:
    fast = fxsolve.compile(recurrence, schedule="gs", backend="eager")
    with pytest.raises(InputError, match="there is nothing to draw"):
        draw(fast._runtime)
    fast(numbers(8, 2))
    assert draw(fast._runtime).schedule == fast.report().schedule
    page = save(fast._runtime, tmp_path / "new" / "page.html").read_text()
    assert "tanh" in page
    assert save(fast._runtime, tmp_path / "picture.svg").read_text().startswith("<svg")
