"""Loops inside the steps of loops: a whole repeat as one call of a body."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from fxsolve.ir.evaluate import run_repeat
from fxsolve.ir.spec import AllSteps, Count, FinalBuffer, Repeat, System, Write, inputs_of
from fxsolve.ir.strides import stacked
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.torch_compat.graphs import Graph, lazy_module


@dataclass(frozen=True, eq=False)
class Nested:
    """The target of a call (results...) = nested(values...): a value for each write of `repeat`, in their order.

    The names in `repeat` are those of its `inputs`, for which the call gives values, numbers among them. `solve` takes
    these values; without it the reference evaluator runs the steps.
    """

    repeat: Repeat
    solve: Callable[..., tuple[Tensor, ...]] | None = None

    @property
    def __name__(self) -> str:
        """What the generated code of a body calls it."""
        return self.repeat.name

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(inputs_of(self.repeat)))

    @property
    def specs(self) -> tuple[TensorSpec | None, ...]:
        """The specs of the results, None for numbers."""
        return tuple(_spec_of(self.repeat, write) for write in self.repeat.writes)

    def __call__(self, *values: Any) -> tuple[Tensor, ...]:
        if self.solve is not None:
            return self.solve(*values)
        written = run_repeat(self.repeat, dict(zip(self.inputs, values, strict=True)))
        return tuple(written[write.name] for write in self.repeat.writes)


def _spec_of(repeat: Repeat, write: Write) -> TensorSpec | None:
    if isinstance(write, Count):
        return None
    if isinstance(write, FinalBuffer):
        return repeat.body.graph.find_nodes(op="placeholder")[write.read].meta["spec"]
    results: Any = repeat.body.graph.output_node().args[0]
    spec = results[write.output].meta["spec"]
    return stacked(spec, repeat.length) if isinstance(write, AllSteps) else spec


def with_solvers(repeat: Repeat, solver_of: Callable[[Repeat], Callable[..., tuple[Tensor, ...]]]) -> Repeat:
    """The repeat with `solver_of(inner)` to run each repeat inside its steps."""
    graph = Graph.copy_of(repeat.body.graph)
    for node in graph.nodes:
        if isinstance(node.target, Nested):
            node.target = replace(node.target, solve=solver_of(node.target.repeat))
    return replace(repeat, body=lazy_module(graph, repeat.name))


def loops_inside(repeat: Repeat) -> tuple[Repeat, ...]:
    """The repeats that a step of `repeat` runs, without those inside them."""
    return tuple(node.target.repeat for node in repeat.body.graph.nodes if isinstance(node.target, Nested))


def with_loops_inside(repeat: Repeat) -> Iterator[Repeat]:
    """A repeat and all that its steps run, at any depth, the outermost first."""
    yield repeat
    for inner in loops_inside(repeat):
        yield from with_loops_inside(inner)


def every_repeat(system: System) -> Iterator[Repeat]:
    """All repeats of a system, each in front of those inside it."""
    for repeat in system.repeats:
        yield from with_loops_inside(repeat)
