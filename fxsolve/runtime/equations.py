"""The equations of a program that the user's options are about."""

from fxsolve.capture.program import Program
from fxsolve.errors import ScheduleError
from fxsolve.ir.spec import System
from fxsolve.loops.partition import ROUNDED_PASSES, SYSTEM_PASSES, Partition, partition
from fxsolve.plan.text import parse_schedule
from fxsolve.runtime.entries import Options
from fxsolve.runtime.plans import SavedPlan


def partition_for(program: Program, options: Options) -> Partition:
    """The equations that an automatic choice or a plan is about may round otherwise than the program does.

    Those that a schedule names do not, unless they are names of such ones: the text of what was chosen can be given.
    """
    if isinstance(options.schedule, SavedPlan):
        return _chosen(program, options.schedule.decisions[0].tolerance)
    if options.is_automatic:
        return _chosen(program, options.tolerance)
    exact = partition(program)
    return exact if _is_about(options.schedule, exact.system) else partition(program, ROUNDED_PASSES)


def _chosen(program: Program, tolerance: float | None) -> Partition:
    return partition(program, SYSTEM_PASSES if tolerance == 0 else ROUNDED_PASSES)


def _is_about(schedule: str, system: System) -> bool:
    try:
        parse_schedule(schedule, system)
    except ScheduleError:
        return False
    return True
