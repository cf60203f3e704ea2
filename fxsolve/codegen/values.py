"""The emitted graph while it grows, and the node of every named value in it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.proxy import GraphAppendingTracer

from fxsolve.capture.names import Names
from fxsolve.capture.program import Program, attribute_of
from fxsolve.codegen.picks import take_apart
from fxsolve.ir.spec import Block, Equation, Stacked, System, inputs_of
from fxsolve.lower.arguments import SolverArguments, Values
from fxsolve.lower.in_place import writes_of
from fxsolve.lower.readable import readable_target
from fxsolve.solvers.guard import check_guards
from fxsolve.solvers.owned import Owned
from fxsolve.torch_compat.trees import pytree


@dataclass(frozen=True)
class NoiseInput:
    """One noise placeholder of an emitted module: these draws of the program, stacked along a new first dimension."""

    draws: tuple[int, ...]
    stacked: bool


class Emission:
    """Collects nodes, attributes and the noise placeholders of one emitted module."""

    def __init__(self) -> None:
        self.graph = fx.Graph()
        self.attributes: dict[str, Any] = {}
        self.values: dict[str, fx.Node] = {}
        self.stacks: dict[tuple[str, ...], fx.Node] = {}
        self.lists: dict[tuple[str, ...], fx.Node] = {}
        self.noise: list[NoiseInput] = []
        self.lengths: dict[str, int] = {}  # of the stacks of loops
        self._names = Names()

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

    def open_values(self, names: tuple[str, ...]) -> None:
        """One placeholder for each of the named values."""
        for name in names:
            self.values[name] = self.graph.placeholder(name)

    def make_contiguous(self) -> None:
        """Lay out all values in order and without gaps."""
        for name, node in self.values.items():
            self.values[name] = self.call(torch.ops.aten.contiguous.default, node)

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

    def attribute(self, target: str, value: Tensor | nn.Module) -> fx.Node:
        """A node for an object that the emitted module holds under `target`, or a name like it that is free."""
        target = self._names.add(target)
        self.attributes[target] = value
        return self.graph.get_attr(target)

    def call(self, function: Any, *arguments: Any, **options: Any) -> fx.Node:
        """A call of `function`; ATen ops are called by their readable names."""
        return _as_leaf(self.graph.call_function(readable_target(function), arguments, options))

    def named(self, name: str, function: Any, *arguments: Any) -> fx.Node:
        """A call whose result is `name` in the emitted code."""
        return _as_leaf(self.graph.create_node("call_function", readable_target(function), arguments, {}, name))

    def inline(self, block: Block) -> None:
        """Copy the calls of a block into the graph."""
        copied: dict[fx.Node, Any] = {}
        names = iter(block.inputs)
        writes = writes_of(block.body.graph)
        for node in block.body.graph.nodes:
            if node.op == "placeholder":
                copied[node] = self.values[next(names)]
            elif node.op == "output":
                self.values.update(zip(block.outputs, (copied[result] for result in node.args[0]), strict=True))
            else:
                copied[node] = self.graph.node_copy(node, lambda source: copied[source])
                copied[node].target = readable_target(writes.get(node, node.target))

    def proxies(self) -> Values:
        """The named values as proxies: torch functions called on them grow this graph."""
        tracer = GraphAppendingTracer(self.graph)

        def constant(name: str, value: Tensor) -> fx.Proxy:
            return fx.Proxy(self.attribute(name, value), tracer)

        named = {name: fx.Proxy(node, tracer) for name, node in self.values.items()}
        stacks = {names: fx.Proxy(node, tracer) for names, node in self.stacks.items()}
        lists = {names: fx.Proxy(node, tracer) for names, node in self.lists.items()}
        return Values(named, stacks, lists, constant)

    @staticmethod
    def nodes(arguments: SolverArguments) -> SolverArguments:
        """Solver arguments made of proxies, as arguments of a graph node."""
        parts = pytree.tree_map_only(fx.Proxy, lambda proxy: proxy.node, arguments.flat())
        return SolverArguments(*parts)

    def finish(self, outputs: Iterable[str], name: str) -> fx.GraphModule:
        """The emitted module, without what nothing reads; parameters in it are the model's own objects."""
        self.graph.output(tuple(self.values[output] for output in outputs))
        for stack, length in self.lengths.items():
            take_apart(self.values[stack], length)
        self.graph.eliminate_dead_code(_is_kept)
        self.graph.lint()
        return _quiet(fx.GraphModule(self.attributes, self.graph, class_name=name))


def _quiet(module: fx.GraphModule) -> fx.GraphModule:
    """The module; an error in it, or in a step that it holds, is raised without being printed.

    `GraphModule` defines, in a class that every module has for itself, a `__call__` that prints the generated code.
    """
    for one in module.modules():
        if isinstance(one, fx.GraphModule) and "__call__" in vars(type(one)):
            del type(one).__call__
    return module


def _is_kept(node: fx.Node) -> bool:
    """Whether a call matters though nothing reads its result: guards are there to be checked."""
    return node.op in ("placeholder", "output") or node.target is check_guards


def _as_leaf(node: fx.Node) -> fx.Node:
    """Loading a saved module traces its code again: solvers, which are Python functions, must not be looked into."""
    if isinstance(node.target, FunctionType):
        node.meta["is_wrapped"] = True
    return node


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
