"""Emit the equations of a system in the order of a schedule."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby

from torch import fx

from fxsolve.codegen.values import ProgramEmission
from fxsolve.ir.spec import AllSteps, Block, Repeat, System
from fxsolve.plan.lower import lower
from fxsolve.plan.lower_blocks import emit_blocks
from fxsolve.plan.method import Part
from fxsolve.plan.schedule import Apply, BlockMethod, GaussSeidel, Schedule, all_leaves, name_of, runs_in_order
from fxsolve.solvers.stop import Stop


@dataclass(frozen=True)
class Plan:
    """How equations are solved; `stop` is the test of methods that name none, by default that of the states' dtype.

    The results of the numbers `turned` are laid out in memory as while recording.
    """

    schedule: Schedule
    stop: Stop | None = None
    turned: tuple[int, ...] = ()

    def chooses_strides(self) -> bool:
        """Whether batched or compiled steps may lay out their results in another way than the program does."""
        return not all(map(runs_in_order, all_leaves(self.schedule)))


def emit_equations(emission: ProgramEmission, system: System, plan: Plan, before_loops: Callable[[], None]) -> None:
    """Solve the equations of `system`, in the order of a schedule that may name others too.

    `before_loops` is called when everything that does not depend on a loop is known.
    """
    equations = {equation.name: equation for equation in system.equations}
    blocks = {one.name: one for one in system.equations if isinstance(one, Block)}
    started = False
    for item, parts in _by_equation(plan.schedule):
        solved = item if isinstance(item, BlockMethod) else equations.get(item)
        if isinstance(solved, Block):
            emission.inline(solved)
        elif solved is not None and not started:
            before_loops()
            started = True
        if isinstance(solved, BlockMethod):
            emit_blocks(emission, solved, blocks, plan.stop)
        elif isinstance(solved, Repeat):
            lower(solved, parts, plan.stop).emit(emission)
            stacks = (write.name for write in solved.writes if isinstance(write, AllSteps) and not solved.until)
            emission.lengths.update(dict.fromkeys(stacks, solved.length))


def module_of_system(system: System, plan: Plan) -> fx.GraphModule:
    """The module of a system: its inputs, in their order, -> its outputs."""
    emission = ProgramEmission()
    emission.open_values(system.inputs)
    emit_equations(emission, system, plan, lambda: None)
    return emission.finish(system.outputs, "System")


def _by_equation(schedule: Schedule) -> Iterator[tuple[str | BlockMethod, list[Part]]]:
    """The leaves of a schedule in order, those of one repeat together, and methods over blocks."""
    for item, owned in groupby(_items(schedule), lambda one: one if isinstance(one, BlockMethod) else name_of(one)):
        yield item, [leaf for leaf in owned if not isinstance(leaf, Apply | BlockMethod)]


def _items(schedule: Schedule) -> Iterator[Apply | Part | BlockMethod]:
    if isinstance(schedule, GaussSeidel):
        for child in schedule.children:
            yield from _items(child)
    else:
        yield schedule
