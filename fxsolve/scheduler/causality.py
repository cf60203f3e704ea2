"""Whether a buffer that a loop reads whole is read through its written prefix only."""

from collections.abc import Mapping

import torch
from torch import Tensor

from fxsolve.partitioner.batch import batch, read_order, table_tensor
from fxsolve.scheduler.times import NEVER, Timed, TimeInterpreter
from fxsolve.system.spec import Block, Lag, Prefix, Repeat, System, Table, inputs_of, outputs_of
from fxsolve.tracer.program import Program, attribute_of


def structural_values(program: Program, system: System, draws: int = 2) -> list[dict[str, Tensor]]:
    """Values that depend on parameters, buffers and constants only, for random parameters.

    An entry that is zero for random parameters is zero for all of them, but for a set of measure zero: masks held in
    buffers show as zeros, weights do not. Values that depend on inputs or noise are absent.
    """
    return [_structural(program, system, seed) for seed in range(draws)]


def _structural(program: Program, system: System, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    values: dict[str, Tensor] = {}
    for node in program.module.graph.find_nodes(op="get_attr"):
        value = attribute_of(program, str(node.target))
        if program.roles[node.name] == "param":
            value = torch.randn(value.shape, generator=generator).to(value)
        values[node.name] = value.detach()
    for equation in system.equations:
        if isinstance(equation, Block) and all(name in values for name in inputs_of(equation)):
            results = equation.body(*(values[name] for name in equation.inputs))
            values.update(zip(outputs_of(equation), results, strict=True))
    return values


def find_leak(repeat: Repeat, structural: list[dict[str, Tensor]]) -> str | None:
    """None if it is proved that no step reads a buffer entry of its own or a later step, else what is in the way."""
    order = read_order(repeat.reads)
    sweep = batch(repeat, repeat.length)
    latest = [NEVER] * repeat.length
    for values in structural:
        inputs = [
            _label(repeat, j, node.meta["val"], values)
            for j, node in zip(order, sweep.graph.find_nodes(op="placeholder"), strict=True)
        ]
        with torch.no_grad():
            outputs = TimeInterpreter(sweep).run(*inputs)
        for output in _unknowns(repeat):
            if isinstance(outputs[output], Timed):
                reached = outputs[output].labels.reshape(repeat.length, -1).amax(1).tolist()
                latest = [max(pair) for pair in zip(latest, reached, strict=True)]
    for step, reached in enumerate(latest):
        if reached >= step:
            return f"step {step} may read what step {reached} writes"
    return None


def _unknowns(repeat: Repeat) -> set[int]:
    return {read.output for read in repeat.reads if isinstance(read, (Lag, Prefix))}


def _label(repeat: Repeat, j: int, example: Tensor, values: Mapping[str, Tensor]) -> Timed | Tensor:
    """The labels of a read; a value without structure is stood in for by ones, which hide no dependence."""
    match repeat.reads[j]:
        case Prefix(_, _, dim, index):
            labels = torch.full(example.shape, NEVER)
            steps = torch.arange(repeat.length).view([-1 if k == dim else 1 for k in range(example.dim())])
            wide = [len(index) if k == dim else size for k, size in enumerate(example.shape)]
            return Timed(labels.index_copy(dim, torch.tensor(index), steps.expand(wide)))
        case Lag(_, initial):
            steps = torch.arange(repeat.length) - len(initial)
            labels = steps.clamp(min=NEVER).view([-1, *[1] * (example.dim() - 1)])
            return Timed(labels.expand(example.shape))
        case Table() as read:
            return table_tensor(read, torch.device("cpu"))
        case read:
            source = getattr(read, "source", None)
            known = (
                values.get(source)
                if source is not None and tuple(values.get(source, example).shape) == tuple(example.shape)
                else None
            )
            return known.cpu() if known is not None else torch.ones(example.shape, dtype=example.dtype)
