"""How closely recurrences are solved."""

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
    repeats = {repeat.name: repeat for repeat in every_repeat(system)}
    parts = [leaf for leaf in all_leaves(schedule) if isinstance(leaf, Iterative)]
    solved = [(repeats[steps_of(part).repeat], part) for part in parts]
    tests = [part.stop or stop or stop_of(repeat) for repeat, part in solved if has_carry(repeat)]
    tests += [one.stop or stop or Stop() for one in block_methods(schedule) if isinstance(one, JacobiBlocks)]
    return max((max(test.atol, test.rtol) for test in tests), default=0.0)


def state_dtype(repeat: Repeat) -> torch.dtype:
    """The least precise floating-point type among the outputs of a repeat; an integer type if there is none."""
    results = [node.meta["spec"].dtype for node in repeat.body.graph.output_node().args[0]]  # pyright: ignore
    floating = [dtype for dtype in results if dtype.is_floating_point or dtype.is_complex]
    return max(floating, key=lambda dtype: torch.finfo(dtype).eps, default=torch.int64)
