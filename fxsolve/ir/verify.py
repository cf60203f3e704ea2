"""The laws of a system: names written once and read afterwards, and bodies that fit their reads and writes."""

import re

from torch import fx

from fxsolve.errors import PartitionError
from fxsolve.ir.nested import Nested, every_repeat
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

_NAME = re.compile(r"[A-Za-z_][\w.]*")
_KEYWORDS = ("gs", "jacobi", "newton", "picard", "scan", "levels", "while")


def verify_system(system: System) -> None:
    """Check that evaluating the equations in order is well defined; raises `PartitionError` naming the equation."""
    _check_names(system)
    known = set(system.inputs)
    for equation in system.equations:
        for name in inputs_of(equation):
            if name not in known:
                raise PartitionError(f"{_where(equation)} reads {name} before it is written")
        for name in outputs_of(equation):
            if name in known:
                raise PartitionError(f"{_where(equation)} writes {name}, which has a value already")
            known.add(name)
        _check_equation(equation)
    for name in system.outputs:
        if name not in known:
            raise PartitionError(f"the output {name} of the system is never written")


def output_count(body: fx.GraphModule) -> int:
    """The number of values in the tuple that `body` returns."""
    (result,) = body.graph.output_node().args
    if not isinstance(result, tuple | list):
        raise PartitionError(f"a body must return a tuple; it returns {result}")
    return len(result)


def _where(equation: Equation) -> str:
    source = equation.source if isinstance(equation, Repeat) else ""
    return f"{equation.name} ({source})" if source else equation.name


def _check_names(system: System) -> None:
    if len(set(system.inputs)) < len(system.inputs):
        raise PartitionError("two inputs of the system have one name")
    seen: set[str] = set()
    blocks = [equation for equation in system.equations if isinstance(equation, Block)]
    for equation in (*blocks, *every_repeat(system)):
        if equation.name in seen:
            raise PartitionError(f"two equations are named {equation.name}")
        if not _NAME.fullmatch(equation.name) or equation.name in _KEYWORDS:
            raise PartitionError(f"an equation cannot be named {equation.name!r}; a schedule could not name it")
        seen.add(equation.name)


def _check_equation(equation: Equation) -> None:
    arguments = sum(node.op == "placeholder" for node in equation.body.graph.nodes)
    results = output_count(equation.body)
    given = len(equation.inputs) if isinstance(equation, Block) else len(equation.reads)
    if arguments != given:
        raise PartitionError(f"the body of {_where(equation)} takes {arguments} values, but {given} are read")
    for node in equation.body.graph.nodes:
        if isinstance(node.target, Nested):
            _check_nested(equation, node, node.target)
    if isinstance(equation, Repeat):
        _check_repeat(equation, results)
    elif results != len(equation.outputs):
        raise PartitionError(
            f"the body of {_where(equation)} returns {results} values, but {len(equation.outputs)} are written"
        )


def _check_nested(equation: Equation, node: fx.Node, nested: Nested) -> None:
    given, wanted = len(node.args), len(nested.inputs)
    if given != wanted:
        raise PartitionError(f"{_where(equation)} gives {given} values to {nested.repeat.name}, which reads {wanted}")
    _check_equation(nested.repeat)


def _check_repeat(repeat: Repeat, results: int) -> None:
    if repeat.length < 1:
        raise PartitionError(f"{_where(repeat)} has {repeat.length} steps; a repeat needs at least one")
    for number, read in enumerate(repeat.reads):
        _check_read(f"read {number} of {_where(repeat)}", read, repeat.length, results)
    for write in repeat.writes:
        _check_write(repeat, write, results)
    if isinstance(repeat.until, Until):
        _check_until(repeat, repeat.until, results)
    if isinstance(repeat.until, Along):
        _check_along(repeat, repeat.until)


def _check_until(repeat: Repeat, until: Until, results: int) -> None:
    for output in (until.output, *(number for number, _ in until.checks)):
        if not 0 <= output < results:
            raise PartitionError(f"{_where(repeat)} stops by output {output} of {results}")
    known = {read.output for read in repeat.reads if isinstance(read, Lag)}
    for write in repeat.writes:
        if isinstance(write, Count):
            continue
        if isinstance(write, AllSteps) and not until.before:
            continue
        if not isinstance(write, LastStep) or (until.before and write.output not in known):
            raise PartitionError(f"{_where(repeat)} may run no step, and has no value for {write.name} then")
    if not 0 <= until.least <= repeat.length:
        raise PartitionError(f"{_where(repeat)} takes {until.least} to {repeat.length} steps")


def _check_along(repeat: Repeat, along: Along) -> None:
    stacks = [read for read in repeat.reads if isinstance(read, Slices)]
    if any(not isinstance(read, (Slices, Table, Lag, Invariant)) for read in repeat.reads):
        raise PartitionError(f"{_where(repeat)} runs along stacks, and reads other things of each step")
    falls = [read.dim == 0 and read.index == tuple(read.index[0] - t for t in range(repeat.length)) for read in stacks]
    if not all(falls) or repeat.length != along.length - along.spare:
        raise PartitionError(f"{_where(repeat)} reads its stacks in another order than from the end")
    if not all(isinstance(write, LastStep) for write in repeat.writes):
        raise PartitionError(f"{_where(repeat)} runs along stacks; of its results only the last ones have a known size")


def _check_read(where: str, read: Read, length: int, results: int) -> None:
    match read:
        case Stacked(entries) | Slices(_, _, entries) | Table(entries) | Prefix(_, _, _, entries):
            if len(entries) != length:
                raise PartitionError(f"{where} has {len(entries)} entries for {length} steps")
        case Lag(_, ()):
            raise PartitionError(f"{where} has distance 0; a step cannot read itself")
    if isinstance(read, Lag | Prefix) and not 0 <= read.output < results:
        raise PartitionError(f"{where} refers to output {read.output} of {results}")
    if isinstance(read, Prefix) and len(set(read.index)) < length:
        raise PartitionError(f"{where} writes one entry of the buffer twice")


def _check_write(repeat: Repeat, write: Write, results: int) -> None:
    if isinstance(write, Count):
        if repeat.until is None:
            raise PartitionError(f"{_where(repeat)} counts its steps as {write.name}, and they are always as many")
        return
    if not isinstance(write, FinalBuffer):
        if not 0 <= write.output < results:
            raise PartitionError(f"{_where(repeat)} names output {write.output} of {results} as {write.name}")
        return
    if not 0 <= write.read < len(repeat.reads) or not isinstance(repeat.reads[write.read], Prefix):
        raise PartitionError(f"{_where(repeat)} names read {write.read} as {write.name}, which is no buffer")
