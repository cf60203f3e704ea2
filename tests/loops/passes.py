"""The passes of a partition one at a time, and what stands between any two of them as a system."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from torch import fx

from fxsolve.capture.program import Program
from fxsolve.ir.bodies import OpenRepeat, close_repeat, open_repeat
from fxsolve.ir.nested import Nested, every_repeat
from fxsolve.ir.spec import Block, Equation, Repeat, System
from fxsolve.ir.text import system_text
from fxsolve.loops.find import find_loops
from fxsolve.loops.nesting.nests import nested_system
from fxsolve.loops.partition import GRAPH_PASSES, SYSTEM_PASSES, find_inside
from fxsolve.loops.rolling.extract import extract
from fxsolve.loops.rolling.signature import read_calls
from fxsolve.rewrite.blocks.names import owners_of
from fxsolve.rewrite.blocks.split import split_blocks
from fxsolve.rewrite.recorded.memory import pin_layouts, resolve_flags
from fxsolve.rewrite.recorded.one_entry import write_entries
from fxsolve.rewrite.recorded.repeated import settle_writes
from tests.goldens import without_paths

Edit = Callable[[OpenRepeat], tuple[list[Block], list[Block]] | None]


def after_each(program: Program) -> Iterator[tuple[str, System]]:
    """The name of every pass with the system behind it; before loops are looked for, that is one block."""
    graph = program.module.graph
    yield "capture", flat_system(graph)
    graph = resolve_flags(graph)
    yield "resolve_flags", flat_system(graph)
    graph = pin_layouts(graph, program.roles)
    yield "pin_layouts", flat_system(graph)
    graph = settle_writes(graph, program).graph
    yield "settle_writes", flat_system(graph)
    graph = write_entries(graph, program).graph
    yield "write_entries", flat_system(graph)
    for step in GRAPH_PASSES:
        graph = step(graph)
        yield step.__name__, flat_system(graph)
    found = find_loops(graph)
    yield "find_loops", flat_system(found.graph)
    system = nested_system(found.graph, found.calls, found.rolling.loops, find_inside).system
    yield "nested_system", system
    for step in SYSTEM_PASSES:
        system = step(system)
        yield step.__name__, system
    yield "split_blocks", split_blocks(system, owners_of(program.module.graph))


def flat_system(graph: fx.Graph) -> System:
    """The system of a graph in which no loop was looked for."""
    return extract(graph, read_calls(graph), ())


def rolled_system(graph: fx.Graph) -> System:
    """The system of a graph with its loops rolled, and no other pass behind it."""
    found = find_loops(graph)
    return nested_system(found.graph, found.calls, found.rolling.loops, find_inside).system


def edited(system: System, edit: Edit) -> System:
    """The system with one edit made to each of its repeats."""
    equations: list[Equation] = []
    for equation in system.equations:
        equations += _edited(equation, edit) if isinstance(equation, Repeat) else [equation]
    return replace(system, equations=tuple(equations))


def _edited(repeat: Repeat, edit: Edit) -> list[Equation]:
    opened = open_repeat(repeat)
    before, after = edit(opened) or ([], [])
    return [*before, close_repeat(opened), *after]


def full_text(system: System) -> str:
    """The system as its reader sees it, and behind it the calls of every equation."""
    blocks = [equation for equation in system.equations if isinstance(equation, Block)]
    bodies = (line for equation in (*blocks, *every_repeat(system)) for line in _body_lines(equation))
    return without_paths("\n".join([system_text(system), "", *bodies]))


def _body_lines(equation: Equation) -> Iterator[str]:
    graph = equation.body.graph
    yield f"{equation.name}({', '.join(node.name for node in graph.find_nodes(op='placeholder'))})"
    for node in graph.nodes:
        if node.op == "call_function":
            yield f"  {node.name} = {_target(node)}({_arguments(node)})"
    yield f"  return {', '.join(map(str, graph.output_node().args[0]))}"  # pyright: ignore[reportArgumentType]


def _target(node: fx.Node) -> str:
    target = node.target
    return target.repeat.name if isinstance(target, Nested) else getattr(target, "__name__", str(target))


def _arguments(node: fx.Node) -> str:
    named = (f"{name}={value}" for name, value in node.kwargs.items())
    return ", ".join([*map(str, node.args), *named])
