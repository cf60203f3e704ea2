"""A repeat that is ready to be solved: on tensors at once, or as calls in a graph that grows."""

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor, fx, nn

from fxsolve.ir.nested import Nested
from fxsolve.ir.spec import Block, Repeat, outputs_of
from fxsolve.lower.arguments import Values, sweep_arguments
from fxsolve.lower.emission import Emission
from fxsolve.lower.lower import results_of
from fxsolve.lower.readable import readable_copy
from fxsolve.solvers.loop import Loop

Results = dict[str, Tensor]


class Solver(ABC):
    """How one repeat runs, decided and prepared: what is measured is what is emitted.

    `fixes_layout` tells that it is compiled for the strides of its first call, so that values of other loops, which
    change from call to call, have to be laid out in one way.
    """

    repeat: Repeat
    fixes_layout: bool = False

    @abstractmethod
    def bind(self, values: Values) -> Callable[[], Results]:
        """A function that solves the repeat from these values; it returns what the repeat writes, by name."""

    @abstractmethod
    def emit(self, emission: Emission) -> None:
        """Add the calls that solve the repeat to a graph, and name what it writes there."""

    def solve(self, values: Values) -> Results:
        """What the repeat writes, by name."""
        return self.bind(values)()


@dataclass(frozen=True)
class HeldModule:
    """A module that a solver takes beside the loop; the emitted module holds it as `<repeat>_<suffix>`."""

    suffix: str
    module: nn.Module


def _swept(repeat: Repeat, values: Values) -> tuple[Any, ...]:
    return sweep_arguments(repeat, values).flat()


@final
@dataclass(frozen=True)
class LoopSolver(Solver):
    """One call of a run-time function: function(loop, *extras, *arguments(repeat, values), *options).

    By default the arguments are (initial, buffers, per_step, shared) with all per-step values stacked. The function
    returns the stacks, the last values and the final buffers in one tuple. `extras` are modules and constants.
    """

    repeat: Repeat
    function: Callable[..., tuple[Any, ...]]
    loop: Loop
    options: tuple[Any, ...] = ()
    extras: tuple[Any, ...] = ()
    arguments: Callable[[Repeat, Values], tuple[Any, ...]] = _swept
    fixes_layout: bool = False

    def bind(self, values: Values) -> Callable[[], Results]:
        extras = (extra.module if isinstance(extra, HeldModule) else extra for extra in self.extras)
        given = (self.loop, *extras, *self.arguments(self.repeat, values), *self.options)
        positions = results_of(self.repeat)

        def solve() -> Results:
            solved = self.function(*given)
            return {name: solved[position] for name, position in positions.items()}

        return solve

    def emit(self, emission: Emission) -> None:
        repeat = self.repeat
        loop = emission.attribute(repeat.name, self.loop)
        extras = [self._extra(emission, extra) for extra in self.extras]
        arguments = emission.nodes(self.arguments(repeat, emission.proxies()))
        solved = emission.named(f"{repeat.name}_solved", self.function, loop, *extras, *arguments, *self.options)
        for name, position in results_of(repeat).items():
            emission.values[name] = emission.named(name, operator.getitem, solved, position)

    def _extra(self, emission: Emission, extra: Any) -> Any:
        if isinstance(extra, HeldModule):
            return emission.attribute(f"{self.repeat.name}_{extra.suffix}", extra.module)
        return emission.spelled(extra)


@final
@dataclass(frozen=True)
class RowSolver(Solver):
    """Several equations in a row that stand for one repeat: blocks, and solvers of repeats among them."""

    repeat: Repeat
    row: tuple[Block | Solver, ...]

    def bind(self, values: Values) -> Callable[[], Results]:
        bodies = {item.name: readable_copy(item.body) for item in self.row if isinstance(item, Block)}

        def solve() -> Results:
            named = dict(values.named)
            for item in self.row:
                if isinstance(item, Block):
                    results = bodies[item.name](*(named[name] for name in item.inputs))
                    named.update(zip(item.outputs, results, strict=True))
                else:
                    named.update(item.solve(Values(named, values.stacks, values.lists, values.constant)))
            return {name: named[name] for name in outputs_of(self.repeat)}

        return solve

    def emit(self, emission: Emission) -> None:
        for item in self.row:
            if isinstance(item, Block):
                emission.inline(item)
            else:
                item.emit(emission)


def module_of(solver: Solver) -> fx.GraphModule:
    """A module that solves a repeat inside the steps of another: (the values it reads...) -> what it writes."""
    repeat, emission = solver.repeat, Emission()
    emission.open_values(Nested(repeat).inputs)
    if solver.fixes_layout:
        emission.make_contiguous()
    solver.emit(emission)
    return emission.finish((write.name for write in repeat.writes), repeat.name)
