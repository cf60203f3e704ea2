"""Programs without loops: what is said of their structure, and when they are compiled all the same."""

from fxsolve.capture.program import Program
from fxsolve.ir.spec import System
from fxsolve.plan.auto import example_values
from fxsolve.plan.schedule import block_methods
from fxsolve.plan.straight import straight_runs
from fxsolve.plan.text import parse_schedule
from fxsolve.plan.timing import time_equations
from fxsolve.report.data import StructureReport
from fxsolve.report.structure import structure_report
from fxsolve.stages import Clock, as_stop


def structure_of(captured: Program, system: System, clock: Clock) -> StructureReport | None:
    """Where straight-line code is the main thing, its blocks and what each costs on the recorded inputs."""
    if not straight_runs(system):
        return None
    seconds = clock.time("structure", time_equations, system, example_values(captured))
    return structure_report(system, seconds)


def names_blocks(system: System, schedule: str, tolerance: float | None) -> bool:
    """Whether the schedule that was asked for solves blocks. Raises `ScheduleError` where it does not fit."""
    if schedule == "auto" or len(system.equations) < 2:
        return False
    return any(block_methods(parse_schedule(schedule, system, as_stop(tolerance))))
