"""What is the same in every run of a program, and the labels of what a sweep reads."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from fxsolve.capture.program import Program, attribute_of
from fxsolve.errors import PartitionError
from fxsolve.ir.reads import read_order
from fxsolve.ir.spec import (
    AllSteps,
    Block,
    Invariant,
    Lag,
    LastStep,
    Prefix,
    Repeat,
    Slices,
    Stacked,
    System,
    Table,
    outputs_of,
)
from fxsolve.ir.tables import device_of, table_tensor
from fxsolve.lower.batch import batch
from fxsolve.lower.fewer_samples import unknown_outputs
from fxsolve.ops.domains.dependence import Dependence
from fxsolve.ops.domains.entries import NEVER, Entries, entries, entries_of, tells, unknown
from fxsolve.ops.facts import FACTS, Facts
from fxsolve.ops.interpret import Interpreter
from fxsolve.plan.examples import with_examples

Known = Mapping[str, Tensor | Entries]


def constants_of(program: Program) -> dict[str, Tensor]:
    """The values of the buffers and constants of a program that stay as they are, by name."""
    values: dict[str, Tensor] = {}
    for node in program.module.graph.find_nodes(op="get_attr"):
        target = str(node.target)
        if program.roles[node.name] == "param" or target in program.example.attributes:
            continue  # training or the program itself writes into it: the next run finds other values
        values[node.name] = attribute_of(program, target).detach()
    return values


def known_values(system: System, constants: Mapping[str, Tensor], facts: Facts = FACTS) -> Known:
    """What is the same in every run of a system in which `constants` are: they, and what comes of them.

    Of values that depend on parameters, inputs or noise too, the entries that are zero or hidden by a mask are known.
    """
    values: dict[str, Tensor | Entries] = dict(constants)
    for equation in system.equations:
        if isinstance(equation, Block):
            values.update(_of_block(equation, values, facts))
        elif isinstance(equation, Repeat) and not unknown_outputs(equation):
            values.update(_of_repeat(equation, values, facts))
    return values


def _of_block(block: Block, values: Known, facts: Facts) -> Known:
    body = with_examples(block.body)
    placeholders = body.graph.find_nodes(op="placeholder")
    if any(node.meta["val"] is None for node in placeholders):
        return {}  # it picks entries of stacks, whose form is that of a loop
    pairs = zip(block.inputs, placeholders, strict=True)
    inputs = [values[name] if name in values else unknown(node.meta["val"].shape) for name, node in pairs]
    return _told(outputs_of(block), label_outputs(body, inputs, facts))


def _of_repeat(repeat: Repeat, values: Known, facts: Facts) -> Known:
    """The results of steps that do not read one another, stacked or the last one."""
    try:
        sweep = batch(repeat, repeat.length)
    except PartitionError:
        return {}
    stacks = label_outputs(sweep, label_inputs(repeat, sweep, values, [NEVER] * repeat.length), facts)
    results: dict[str, Tensor | Entries] = {}
    for write in repeat.writes:
        if isinstance(write, AllSteps):
            results[write.name] = stacks[write.output]
        elif isinstance(write, LastStep):
            results[write.name] = _moved(stacks[write.output], lambda part: part[-1])
    return _told(results, results.values())


def label_outputs(graph: fx.GraphModule, inputs: Sequence[Tensor | Entries], facts: Facts) -> Any:
    """What is known of the results of a graph, from what is known of its inputs."""
    with torch.no_grad():
        return Interpreter(graph, Dependence(), facts).run(*inputs)


def _told(names: Iterable[str], results: Iterable[Tensor | Entries]) -> Known:
    named = zip(names, results, strict=True)
    return {name: value for name, value in named if isinstance(value, Tensor) or tells(value)}


def label_inputs(repeat: Repeat, sweep: fx.GraphModule, known: Known, ranks: list[int]) -> list[Tensor | Entries]:
    """What is known of the reads of a sweep, where the steps have these ranks."""
    given, placeholders = torch.tensor(ranks, device=device_of(repeat)), sweep.graph.find_nodes(op="placeholder")
    pairs = zip(read_order(repeat.reads), placeholders, strict=True)
    return [_label(repeat, j, node.meta["val"], known, given) for j, node in pairs]


def _label(repeat: Repeat, j: int, example: Tensor, values: Known, ranks: Tensor) -> Entries | Tensor:
    """The labels of a read, or its structural value, or else labels of no step for a value that may be anything."""
    device = device_of(repeat)
    match repeat.reads[j]:
        case Prefix(_, _, dim, index):
            wide = [len(index) if k == dim else size for k, size in enumerate(example.shape)]
            steps = ranks.view([-1 if k == dim else 1 for k in range(example.dim())]).expand(wide)
            labels = torch.full(example.shape, NEVER, device=device)
            return entries(labels.index_copy(dim, torch.tensor(index, device=device), steps))
        case Lag(_, initial):
            steps = torch.cat((ranks.new_full((len(initial),), NEVER), ranks))[: repeat.length]
            return entries(steps.view([-1, *[1] * (example.dim() - 1)]).expand(example.shape))
        case Table() as read:
            return table_tensor(read, device)
        case Invariant(source) if source in values:
            return values[source]
        case Slices(source, dim, index) if source in values:
            return _moved(values[source], lambda part: part.movedim(dim, 0)[list(index)])
        case Stacked(sources) if all(source in values for source in sources):
            return _stacked([values[source] for source in sources])
    return unknown(example.shape, device=device)


def _moved(value: Tensor | Entries, move: Callable[[Tensor], Tensor]) -> Tensor | Entries:
    return value.all_alike(move) if isinstance(value, Entries) else move(value)


def _stacked(values: list[Tensor | Entries]) -> Tensor | Entries:
    tensors = [value for value in values if isinstance(value, Tensor)]
    if len(tensors) == len(values):
        return torch.stack(tensors)
    known = [entries_of(value) for value in values]
    parts = ([one.latest for one in known], [one.zero for one in known], [one.low for one in known])
    return Entries(*map(torch.stack, parts))
