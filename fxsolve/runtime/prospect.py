"""What may be bought for an entry: the same program with compiled steps, from what was recorded at its first call."""

from collections.abc import Hashable
from dataclasses import dataclass, replace

from torch import Tensor, fx

from fxsolve.capture.effects.mutations import is_apart, is_laid_out, keep
from fxsolve.capture.program import Example, Program, attribute_of
from fxsolve.capture.record.backward import draw_cotangent
from fxsolve.errors import PartitionError
from fxsolve.loops.partition import Partition
from fxsolve.plan.decision import Decision
from fxsolve.plan.schedule import Schedule
from fxsolve.report.report import Report
from fxsolve.rewrite.recorded.memory import has_flags
from fxsolve.runtime.gradients import Differentiable, lay_out
from fxsolve.runtime.modes import plain_torch
from fxsolve.runtime.ready import Ready
from fxsolve.runtime.trial import run_example
from fxsolve.torch_compat.graphs import Graph

LEAST_SHARE = 0.05  # of the seconds of a call must be saved: what is predicted is not known better than that


@dataclass(frozen=True)
class Prospect:
    """Compiled steps, of these `graphs`, are predicted to save `saving` seconds a call, and to cost `price`.

    `program` holds no intermediate values, and no tensors of the recorded call. `reference` runs as the recorded run
    did, which it was compared with, by the `schedule`, without compiled steps.
    """

    graphs: frozenset[Hashable]
    saving: float
    price: float
    program: Program
    parts: Partition
    reference: Ready
    schedule: Schedule

    def refreshed(self, tensors: tuple[Tensor, ...]) -> Program:
        """The program with a call of these tensors as its example: inputs and parameters may have changed since.

        What the program owns, and the generators, are as before the call. Raises what the reference raises, a
        `GuardError` where another recording is the one for this call, and `PartitionError` where none is any more.
        """
        effects, emitted = self.reference.effects, self.reference.emitted
        inputs = self.reference.inputs(tensors)
        if self.reference.is_stale() or not (is_laid_out(effects) and is_apart(effects, inputs)):
            raise PartitionError("what the recording rests on has changed since")
        kept = keep(effects, inputs)
        places = zip(effects.mutations, kept.copies, strict=True)
        before = {mutation.place: copy for mutation, copy in places}
        rewind = self.reference.rewinder()
        noise = tuple(draw.sample() for draw in self.program.draws)
        rewind()
        example = Example(
            tuple(before.get(number, tensor) for number, tensor in enumerate(inputs)),
            noise,
            (),
            {place: copy for place, copy in before.items() if isinstance(place, str)},
            state=inputs[len(tensors) :],
            before=kept.held,
        )
        if isinstance(emitted, Differentiable):
            example = replace(example, cotangents=_cotangents(emitted, example))
        outputs, _ = run_example(emitted, replace(self.program, example=example))
        return replace(self.program, example=replace(example, outputs=_laid_out(self.reference, outputs)))


def prospect_of(
    program: Program, parts: Partition, decision: Decision, reference: Ready, report: Report
) -> Prospect | None:
    """What may be bought for a program; None where too little is predicted to be saved, or nothing was offered.

    `report` has what a call takes now, and of the emitted module where that is not what runs.
    """
    emitted, gain = report.emitted_seconds, sum(one.gain for one in decision.offers)
    # Flags of conjugated values are read from the calls of the program.
    if emitted is None or has_flags(program.module.graph):
        return None
    now = emitted if report.original_seconds is None else min(emitted, report.original_seconds)
    saving = now - (emitted - gain)
    if saving < LEAST_SHARE * now:
        return None
    bought = [one for one in decision.offers if one.gain]
    graphs, price = frozenset(one.graph for one in bought), sum(one.price for one in bought)
    return Prospect(graphs, saving, price, _without_values(program), parts, reference, decision.schedule)


def _without_values(program: Program) -> Program:
    """Only the leaves of the graph, under their names."""
    graph, attributes = Graph(), {}
    for node in program.module.graph.find_nodes(op="placeholder"):
        graph.node_copy(node)
    for node in program.module.graph.find_nodes(op="get_attr"):
        attributes[str(node.target)] = attribute_of(program, str(node.target))
        graph.node_copy(node)
    graph.output(())
    return replace(program, module=fx.GraphModule(attributes, graph, class_name="Leaves"), example=Example((), (), ()))


def _cotangents(function: Differentiable, example: Example) -> tuple[Tensor, ...]:
    with plain_torch():
        outputs, _ = function.solve(example.inputs, function.noise_inputs(example.noise))
        drawn = (draw_cotangent(outputs[number]) for number in function.backward.outputs)
        return tuple(lay_out(one, spec) for one, spec in zip(drawn, function.cotangents, strict=True))


def _laid_out(reference: Ready, outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Gradients lie in memory as those that were recorded."""
    if not isinstance(reference.emitted, Differentiable):
        return outputs
    count = reference.emitted.passes.results
    found = zip(outputs[count:], reference.emitted.found, strict=True)
    return (*outputs[:count], *(lay_out(one, spec) for one, spec in found))
