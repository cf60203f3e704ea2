"""What an emitted module starts from: the inputs and draws of a program, and what its model owns."""

import operator
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from fxsolve.capture.program import Program, attribute_of
from fxsolve.ir.spec import Block, Equation, Stacked, System, inputs_of
from fxsolve.lower.emission import Emission
from fxsolve.solvers.owned import Owned
from fxsolve.state.names import Names


@dataclass(frozen=True)
class NoiseInput:
    """One noise placeholder of an emitted module: these draws of the program, stacked along a new first dimension."""

    draws: tuple[int, ...]
    stacked: bool


class ProgramEmission(Emission):
    """The module of a whole system: it knows the noise placeholders, and the stacks that loops leave."""

    def __init__(self) -> None:
        super().__init__()
        self.noise: list[NoiseInput] = []
        self.lengths: dict[str, int] = {}  # of the stacks of loops

    def open_program(self, program: Program, system: System) -> None:
        """Placeholders for inputs and noise, in the program's order, and `get_attr` for what the model owns."""
        nodes = {node.name: node for node in program.module.graph.nodes}
        self._names = Names(str(node.target) for node in nodes.values() if node.op == "get_attr")
        self.open_values(tuple(name for name in program.roles if program.roles[name] == "input"))
        self._open_noise([name for name in program.roles if program.roles[name] == "noise"], system)
        self._open_literals(program, system)
        self._open_owned(program, system)
        used = {name for equation in system.equations for name in self._single_names(equation)} | set(system.outputs)
        for name in system.inputs:
            node = nodes[name]
            if node.op == "get_attr" and name in used:
                self.attributes[str(node.target)] = _resolve(program.module, str(node.target))
                self.values[name] = self.graph.get_attr(str(node.target))

    def finish(self, outputs: Iterable[str], name: str) -> fx.GraphModule:
        outputs = tuple(outputs)
        for stack, length in self.lengths.items():
            take_apart(self.values[stack], length)
        return super().finish(outputs, name)

    def _open_noise(self, draws: list[str], system: System) -> None:
        """Draws that a loop reads step by step, and nothing else reads, come as one stack."""
        number = {name: k for k, name in enumerate(draws)}
        readers = _reader_counts(system)
        grouped: dict[str, tuple[str, ...]] = {}
        for repeat in system.repeats:
            for read in repeat.reads:
                if isinstance(read, Stacked) and all(s in number and readers[s] == 1 for s in read.sources):
                    grouped.update(dict.fromkeys(read.sources, read.sources))
        for name in draws:
            group = grouped.get(name)
            if group is None:
                self.values[name] = self.graph.placeholder(name)
                self.noise.append(NoiseInput((number[name],), False))
            elif group not in self.stacks:
                self.stacks[group] = self.graph.placeholder(f"{name}_steps")
                self.noise.append(NoiseInput(tuple(number[member] for member in group), True))

    def _open_literals(self, program: Program, system: System) -> None:
        """Constants that the program made of numbers, one for each step of a loop, are kept as one stack."""
        nodes = [n for n in program.module.graph.find_nodes(op="get_attr") if n.name in program.stream.literals]
        known = {node.name: attribute_of(program, str(node.target)) for node in nodes}
        for sources in _stacked_sources(system):
            if sources not in self.stacks and all(source in known for source in sources):
                stack = torch.stack([known[source] for source in sources])
                self.stacks[sources] = self.attribute(f"{sources[0]}_steps", stack)

    def _open_owned(self, program: Program, system: System) -> None:
        """Parameters of equal layers, one for each step of a loop, are read together: one by one is slow."""
        nodes = {node.name: str(node.target) for node in program.module.graph.find_nodes(op="get_attr")}
        for sources in _stacked_sources(system):
            if sources in self.stacks or sources in self.lists or any(source not in nodes for source in sources):
                continue
            tensors = [_resolve(program.module, nodes[source]) for source in sources]
            if len({isinstance(tensor, nn.Parameter) for tensor in tensors}) == 1:
                target = self._names.add(f"{sources[0]}_steps")
                self.attributes[target] = Owned(tensors)
                self.lists[sources] = self.graph.call_module(target)

    def _single_names(self, equation: Equation) -> tuple[str, ...]:
        """The names that an equation reads one by one."""
        if isinstance(equation, Block):
            return equation.inputs
        known = {*self.stacks, *self.lists}
        single = (read for read in equation.reads if not (isinstance(read, Stacked) and read.sources in known))
        return tuple(name for read in single for name in read.names)


def _reader_counts(system: System) -> dict[str, int]:
    counts: dict[str, int] = dict.fromkeys(system.inputs, 0)
    for equation in system.equations:
        for name in inputs_of(equation):
            counts[name] = counts.get(name, 0) + 1
    for name in system.outputs:
        counts[name] = counts.get(name, 0) + 1
    return counts


def _stacked_sources(system: System) -> Iterator[tuple[str, ...]]:
    """The values that loops read one of at each step."""
    for repeat in system.repeats:
        yield from (read.sources for read in repeat.reads if isinstance(read, Stacked))


def _resolve(module: nn.Module, target: str) -> Any:
    value: Any = module
    for part in target.split("."):
        value = getattr(value, part)
    return value


def take_apart(stack: fx.Node, length: int) -> None:
    """Turn `select(stack, 0, t)` for most t < length into `unbind(stack)[t]`."""
    picks = [node for node in stack.users if node.target is torch.select and node.args[1] == 0]
    if 2 * len(picks) <= length:
        return
    with stack.graph.inserting_after(stack):
        steps = stack.graph.call_function(torch.unbind, (stack,))
    for node in picks:
        node.target, node.args = operator.getitem, (steps, node.args[2])
