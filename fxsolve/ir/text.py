"""Systems as text for a reader: what each equation reads and writes, and how steps depend on one another."""

import operator
from collections.abc import Iterable

from torch import fx

from fxsolve.ir.nested import Nested, loops_inside
from fxsolve.ir.spec import (
    AllSteps,
    Block,
    Count,
    Equation,
    FinalBuffer,
    Invariant,
    Lag,
    LastStep,
    Prefix,
    Read,
    Repeat,
    Slices,
    Stacked,
    System,
    Table,
    Write,
    inputs_of,
    outputs_of,
)
from fxsolve.ir.until import Along, Until

_MOST = 6


def system_text(system: System) -> str:
    """List the equations, with one line for each read of a repeat, and below these the repeats inside its steps."""
    lines = [f"inputs: {_names(system.inputs)}"]
    for equation in system.equations:
        lines += _block_lines(equation) if isinstance(equation, Block) else _repeat_lines(equation)
    return "\n".join([*lines, f"outputs: {_names(system.outputs)}"])


def pattern_text(system: System) -> str:
    """List, one equation a line, the equations that it needs and the earlier steps that a step of it reads.

    The repeats inside the steps of another stand below it.
    """
    writer = {name: equation.name for equation in system.equations for name in outputs_of(equation)}
    return "\n".join(line for equation in system.equations for line in _pattern_lines(equation, writer))


def ops_text(body: fx.GraphModule) -> str:
    """What a body computes: 5 ops, or 5 ops and 2 loops."""
    loops = sum(isinstance(node.target, Nested) for node in body.graph.nodes)
    ops = _count(count_ops(body), "op")
    return f"{ops} and {_count(loops, 'loop')}" if loops else ops


def count_ops(body: fx.GraphModule) -> int:
    """The calls of a body, without loops inside and what picks their results."""
    calls = [node for node in body.graph.nodes if node.op.startswith("call_") and not isinstance(node.target, Nested)]
    picks = sum(node.target is operator.getitem and isinstance(node.args[0].target, Nested) for node in calls)
    return len(calls) - picks


def index_text(index: tuple[int | float, ...]) -> str:
    """Write numbers as ranges: 0..783, 62..0 by -2, or single entries where they follow no rule."""
    runs = list(_runs(index))
    shown = ", ".join(map(_run_text, runs[:_MOST]))
    return shown if len(runs) <= _MOST else f"{shown}, ... ({len(index)} in all)"


def _block_lines(block: Block) -> list[str]:
    return [f"{block.name}: {ops_text(block.body)}, {_names(block.inputs)} -> {_names(block.outputs)}"]


def _repeat_lines(repeat: Repeat) -> list[str]:
    source = f", {repeat.source}" if repeat.source else ""
    written = ", ".join(_write_text(write, repeat) for write in repeat.writes)
    head = f"{repeat.name} x {repeat.length}: {ops_text(repeat.body)}{source} -> {written or 'nothing'}"
    stop = [f"  {_until_text(repeat.until)}"] if repeat.until is not None else []
    arguments = [node.name for node in repeat.body.graph.nodes if node.op == "placeholder"]
    reads = zip(arguments, repeat.reads, strict=True)
    inside = (line for inner in loops_inside(repeat) for line in _repeat_lines(inner))
    read_lines = (f"  {argument}: {_read_text(read)}" for argument, read in reads)
    return [head, *stop, *read_lines, *(f"  {line}" for line in inside)]


def _until_text(until: Until | Along) -> str:
    if isinstance(until, Along):
        return f"along {until.stack}, of any size, {until.spare} entries left"
    before = f", or {until.before} is before the first" if until.before else ""
    checks = "".join(f"; output {output} is {value} in all" for output, value in until.checks)
    return f"until output {until.output} is {until.stops}{before}, {until.least} steps or more{checks}"


def _read_text(read: Read) -> str:
    match read:
        case Invariant(source):
            return f"{source}, the same at every step"
        case Stacked(sources):
            return f"one of {_names(sources)} at each step"
        case Slices(source, dim, index):
            return f"{source} at {index_text(index)} along dim {dim}"
        case Table(values):
            return f"the number {index_text(values)}"
        case Lag(output, initial):
            return f"lag {read.distance} of output {output}, initially {_names(initial)}"
        case Prefix(output, initial, dim, index):
            return f"buffer {initial}, output {output} written at {index_text(index)} along dim {dim}"


def _write_text(write: Write, repeat: Repeat) -> str:
    match write:
        case AllSteps(name, output):
            return f"{name} (output {output}, all steps)"
        case LastStep(name, output):
            return f"{name} (output {output}, last step)"
        case Count(name, _, first, each):
            return f"{name} ({first} + {each} * steps)"
        case FinalBuffer(name, number):
            read = repeat.reads[number]
            return f"{name} (buffer {read.initial})" if isinstance(read, Prefix) else f"{name} (read {number})"


def _pattern_lines(equation: Equation, writer: dict[str, str]) -> list[str]:
    inside = loops_inside(equation) if isinstance(equation, Repeat) else ()
    lines = (line for inner in inside for line in _pattern_lines(inner, {}))
    return [_pattern_line(equation, writer), *(f"  {line}" for line in lines)]


def _pattern_line(equation: Equation, writer: dict[str, str]) -> str:
    needs = dict.fromkeys(writer[name] for name in inputs_of(equation) if name in writer)
    after = f" after {', '.join(needs)}" if needs else ""
    if isinstance(equation, Block):
        return f"{equation.name}{after}"
    return f"{equation.name} x {equation.length}{after}: {_dependence(equation.reads)}"


def _dependence(reads: Iterable[Read]) -> str:
    """Which earlier steps step t reads."""
    lags = sorted({read.distance for read in reads if isinstance(read, Lag)})
    earlier = [f"x_(t-{distance})" for distance in lags]
    if any(isinstance(read, Prefix) for read in reads):
        earlier.append("x_<t")
    return f"x_t reads {', '.join(earlier)}" if earlier else "steps are independent"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _names(names: tuple[str, ...]) -> str:
    if not names:
        return "nothing"
    shown = names if len(names) <= _MOST else (*names[:2], "...", names[-1])
    return ", ".join(shown)


def _runs(index: tuple[int | float, ...]) -> Iterable[tuple[int | float, int | float, int]]:
    """The longest arithmetic progressions, greedily: (first, step, count)."""
    start = 0
    while start < len(index):
        stop = start + 1
        step = index[stop] - index[start] if stop < len(index) else 0
        while stop < len(index) and index[stop] - index[stop - 1] == step:
            stop += 1
        yield index[start], step, stop - start
        start = stop


def _run_text(run: tuple[int | float, int | float, int]) -> str:
    first, step, count = run
    if count == 1:
        return str(first)
    if step == 0:
        return f"{first} ({count} times)"
    last = first + step * (count - 1)
    return f"{first}..{last}" if step == 1 else f"{first}..{last} by {step}"
