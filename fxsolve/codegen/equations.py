"""Emit the equations of a system in the order of a schedule."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from torch import fx

from fxsolve.codegen.loops import emit_fused, emit_method, emit_sequential
from fxsolve.codegen.sums import emit_sum
from fxsolve.codegen.values import Emission
from fxsolve.ir.nested import Nested, loops_inside, with_solvers
from fxsolve.ir.spec import AllSteps, Block, Repeat, System
from fxsolve.plan.depth import longest_chain
from fxsolve.plan.method import Part, Steps, steps_of
from fxsolve.plan.methods.scan import Scan
from fxsolve.plan.schedule import Apply, Schedule, all_leaves, leaves, parts_of
from fxsolve.plan.tolerance import stop_of
from fxsolve.rewrite.sums.fold import is_sum
from fxsolve.solvers.stop import Stop


@dataclass(frozen=True)
class Plan:
    """How equations are solved.

    `fused` maps repeats that run step by step to the number of steps compiled into one call. `stop` is the test of
    methods that name none; the default depends on the dtype of the states. `depths` bounds the chains of steps that
    read one another, for repeats that are solved by levels; the default follows from the reads.
    """

    schedule: Schedule
    fused: Mapping[str, int] = field(default_factory=dict)
    stop: Stop | None = None
    depths: Mapping[str, int] = field(default_factory=dict)

    def chooses_strides(self) -> bool:
        """Whether batched or compiled steps may lay out their results in another way than the program does."""
        return bool(self.fused) or any(not isinstance(leaf, (Apply, Steps)) for leaf in all_leaves(self.schedule))


def emit_equations(emission: Emission, system: System, plan: Plan, before_loops: Callable[[], None]) -> None:
    """Solve the equations of `system`, in the order of a schedule that may name others too.

    `before_loops` is called when everything that does not depend on a loop is known.
    """
    equations = {equation.name: equation for equation in system.equations}
    started = False
    for name, parts in _by_equation(plan.schedule):
        equation = equations.get(name)
        if isinstance(equation, Repeat):
            if not started:
                before_loops()
            started = True
            _emit_repeat(emission, equation, parts, plan)
            stacks = (write.name for write in equation.writes if isinstance(write, AllSteps))
            emission.lengths.update(dict.fromkeys(stacks, equation.length))
        elif isinstance(equation, Block):
            emission.inline(equation)


def _emit_repeat(emission: Emission, repeat: Repeat, parts: Sequence[Part], plan: Plan) -> None:
    if loops_inside(repeat):
        repeat = with_solvers(repeat, lambda inner: _emit_inside(inner, plan))
    if isinstance(parts[0], Scan) and is_sum(repeat):
        emit_sum(emission, repeat)
    elif any(not isinstance(part, Steps) for part in parts):
        depth = plan.depths.get(repeat.name) or longest_chain(repeat)
        emit_method(emission, repeat, parts, plan.stop or stop_of(repeat), depth)
    elif repeat.name in plan.fused:
        emit_fused(emission, repeat, plan.fused[repeat.name])
    else:
        emit_sequential(emission, repeat)


def _emit_inside(repeat: Repeat, plan: Plan) -> fx.GraphModule:
    """The module that solves a repeat inside the steps of another."""
    emission = Emission()
    emission.open_values(Nested(repeat).inputs)
    if repeat.name in plan.fused:
        emission.make_contiguous()  # steps are compiled once, for the strides of the first solve
    steps = Steps(repeat.name, 0, repeat.length)
    _emit_repeat(emission, repeat, parts_of(plan.schedule, repeat.name) or (steps,), plan)
    return emission.finish((write.name for write in repeat.writes), repeat.name)


def _by_equation(schedule: Schedule) -> Iterator[tuple[str, list[Part]]]:
    """The leaves of a schedule in order, those of one repeat together."""
    for name, owned in groupby(leaves(schedule), _owner):
        yield name, [leaf for leaf in owned if not isinstance(leaf, Apply)]


def _owner(leaf: Apply | Part) -> str:
    return leaf.block if isinstance(leaf, Apply) else steps_of(leaf).repeat
