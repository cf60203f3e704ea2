"""Choose a schedule for a whole system by solving it once, equation by equation, and measuring as it goes."""

import torch
from torch import Tensor, fx

from fxsolve.partitioner.arguments import Values
from fxsolve.partitioner.readable import readable
from fxsolve.scheduler.causality import structural_values
from fxsolve.scheduler.decision import Choice, Decision
from fxsolve.scheduler.rules import Situation, choose
from fxsolve.scheduler.schedule import Apply, GaussSeidel, Schedule
from fxsolve.solvers.stop import Stop, default_stop
from fxsolve.system.spec import Block, Prefix, Repeat, System
from fxsolve.tracer.program import Program, recorded_attribute


def decide(program: Program, system: System, backend: str = "inductor", stop: Stop | None = None) -> Decision:
    """The schedule that the decision table of `rules` gives on the program's example inputs.

    With `backend="inductor"` the steps of overhead-bound loops may be compiled, which takes seconds.
    """
    with torch.no_grad():
        return _decide(program, system, backend, stop)


def _decide(program: Program, system: System, backend: str, stop: Stop | None) -> Decision:
    named = _given(program)
    structural = structural_values(program, system) if _reads_buffers(system) else []
    leaves: list[Schedule] = []
    choices: list[Choice] = []
    for equation in system.equations:
        if isinstance(equation, Block):
            results = _as_emitted(equation)(*(named[name] for name in equation.inputs))
            named.update(zip(equation.outputs, results, strict=True))
            leaves.append(Apply(equation.name))
            continue
        test = stop or default_stop(state_dtype(equation))
        choice, run = choose(Situation(equation, Values(named), structural, test, backend))
        named.update(run.results)
        choices.append(choice)
        leaves += choice.parts
    fused = {choice.repeat: choice.unroll for choice in choices if choice.unroll}
    steps = {repeat.name: repeat.length for repeat in system.repeats}
    sequential = sum((choice.step_seconds or 0.0) * steps[choice.repeat] for choice in choices)
    return Decision(GaussSeidel(tuple(leaves)), tuple(choices), fused, sequential_seconds=sequential)


def _as_emitted(block: Block) -> fx.GraphModule:
    """The calls of a block as they are emitted: what a sweep hands over may be laid out in another way."""
    graph = fx.Graph()
    graph.output(graph.graph_copy(block.body.graph, {}))
    return readable(fx.GraphModule({}, graph))


def state_dtype(repeat: Repeat) -> torch.dtype:
    """The least precise floating-point type among the outputs of a repeat; an integer type if there is none."""
    results = [node.meta["spec"].dtype for node in repeat.body.graph.output_node().args[0]]  # pyright: ignore
    floating = [dtype for dtype in results if dtype.is_floating_point or dtype.is_complex]
    return max(floating, key=lambda dtype: torch.finfo(dtype).eps, default=torch.int64)


def _given(program: Program) -> dict[str, Tensor]:
    """The values that a system starts from: example inputs, noise, and what the model owns."""
    values: dict[str, Tensor] = {}
    arriving = iter((*program.example.inputs, *program.example.noise))
    for node in program.module.graph.nodes:
        if node.op == "placeholder":
            values[node.name] = next(arriving)
        elif node.op == "get_attr":
            values[node.name] = recorded_attribute(program, node.target)
    return values


def _reads_buffers(system: System) -> bool:
    return any(isinstance(read, Prefix) for repeat in system.repeats for read in repeat.reads)
