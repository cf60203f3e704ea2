"""How closely recurrences are solved."""

from collections.abc import Iterator

import torch

from fxsolve.ir.nested import every_repeat
from fxsolve.ir.reads import has_carry
from fxsolve.ir.spec import Repeat, System
from fxsolve.plan.method import Iterative, steps_of
from fxsolve.plan.schedule import JacobiBlocks, Schedule, all_leaves, block_methods
from fxsolve.solvers.stop import Stop, default_stop


def stop_of(repeat: Repeat) -> Stop:
    """The test where the user names none: that of the dtype."""
    return default_stop(state_dtype(repeat))


def loosest_stop(system: System, schedule: Schedule, stop: Stop | None) -> float:
    """The largest tolerance that a schedule solves a recurrence to, inside of steps too; 0 where all run in order."""
    return max((max(test.atol, test.rtol) for test, _ in _tests(system, schedule, stop)), default=0.0)


def is_looser(system: System, schedule: Schedule, stop: Stop | None, least: float) -> bool:
    """Whether it solves one less closely than `stop`, or the test of its dtype, asks for; `least` is always allowed."""
    tests = _tests(system, schedule, stop)
    return any(one.atol > max(asked.atol, least) or one.rtol > max(asked.rtol, least) for one, asked in tests)


def _tests(system: System, schedule: Schedule, stop: Stop | None) -> Iterator[tuple[Stop, Stop]]:
    """The test of each part of a schedule that solves a recurrence, and that where it names none."""
    repeats = {repeat.name: repeat for repeat in every_repeat(system)}
    for part in all_leaves(schedule):
        if isinstance(part, Iterative) and has_carry(repeat := repeats[steps_of(part).repeat]):
            asked = stop or stop_of(repeat)
            yield part.stop or asked, asked
    for one in block_methods(schedule):
        if isinstance(one, JacobiBlocks):
            asked = stop or Stop()
            yield one.stop or asked, asked


def state_dtype(repeat: Repeat) -> torch.dtype:
    """The least precise floating-point type among the outputs of a repeat; an integer type if there is none."""
    results = [node.meta["spec"].dtype for node in repeat.body.graph.output_node().args[0]]  # pyright: ignore
    floating = [dtype for dtype in results if dtype.is_floating_point or dtype.is_complex]
    return max(floating, key=lambda dtype: torch.finfo(dtype).eps, default=torch.int64)
