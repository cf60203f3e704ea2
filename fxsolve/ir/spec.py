"""The equations of a program as data: blocks, rolled repeats, and how they read one another.

Values are named by strings. A `System` is an ordered list of equations; each name is written once and read only
after it was written, so running the list in order is one Gauss-Seidel sweep and equals the program.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import fx

from fxsolve.ir.until import Along, Until


@dataclass(frozen=True)
class Invariant:
    """The same value at every step."""

    source: str

    @property
    def names(self) -> tuple[str, ...]:
        """The values outside the repeat that are read; so for every kind of read."""
        return (self.source,)

    def renamed(self, new: Callable[[str], str]) -> "Invariant":
        """The same read of the values called `new(name)`; so for every kind of read."""
        return Invariant(new(self.source))

    def shortened(self, _: int) -> "Invariant":
        """What the first so many steps read; so for every kind of read."""
        return self


@dataclass(frozen=True)
class Stacked:
    """A different value at each step: sources[t]."""

    sources: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return self.sources

    def renamed(self, new: Callable[[str], str]) -> "Stacked":
        return Stacked(tuple(new(name) for name in self.sources))

    def shortened(self, length: int) -> "Stacked":
        return Stacked(self.sources[:length])


@dataclass(frozen=True)
class Slices:
    """Entry index[t] of one tensor along `dim`: source.select(dim, index[t])."""

    source: str
    dim: int
    index: tuple[int, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return (self.source,)

    def renamed(self, new: Callable[[str], str]) -> "Slices":
        return replace(self, source=new(self.source))

    def shortened(self, length: int) -> "Slices":
        return replace(self, index=self.index[:length])


@dataclass(frozen=True)
class Table:
    """A Python number that changes with the step: values[t]."""

    values: tuple[int | float, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return ()

    def renamed(self, _: Callable[[str], str]) -> "Table":
        return self

    def shortened(self, length: int) -> "Table":
        return Table(self.values[:length])


@dataclass(frozen=True)
class Lag:
    """The repeat's own output number `output`, `distance` = len(initial) steps back.

    `initial` holds the values for t = -distance .. -1, oldest first.
    """

    output: int
    initial: tuple[str, ...]

    @property
    def distance(self) -> int:
        return len(self.initial)

    @property
    def names(self) -> tuple[str, ...]:
        return self.initial

    def renamed(self, new: Callable[[str], str]) -> "Lag":
        return replace(self, initial=tuple(new(name) for name in self.initial))

    def shortened(self, _: int) -> "Lag":
        return self


@dataclass(frozen=True)
class Prefix:
    """A buffer, read whole, whose entry index[t] along `dim` is written by output number `output` at step t.

    `initial` names the buffer before the first step; the entries written so far are x_<t.
    """

    output: int
    initial: str
    dim: int
    index: tuple[int, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return (self.initial,)

    def renamed(self, new: Callable[[str], str]) -> "Prefix":
        return replace(self, initial=new(self.initial))

    def shortened(self, length: int) -> "Prefix":
        return replace(self, index=self.index[:length])


Read = Invariant | Stacked | Slices | Table | Lag | Prefix


@dataclass(frozen=True)
class AllSteps:
    """Name output number `output` of every step, stacked along a new first dimension: (T, ...)."""

    name: str
    output: int


@dataclass(frozen=True)
class LastStep:
    """Name output number `output` of the last step."""

    name: str
    output: int


@dataclass(frozen=True)
class FinalBuffer:
    """Name the buffer of read number `read` (a `Prefix`) after the last step."""

    name: str
    read: int


@dataclass(frozen=True)
class Count:
    """Name the Python number first + each * (how many steps ran), of a repeat that stops on its output `output`."""

    name: str
    output: int
    first: int
    each: int


Write = AllSteps | LastStep | FinalBuffer | Count


@dataclass(frozen=True)
class Block:
    """One equation, evaluated once: outputs = body(inputs)."""

    name: str
    body: fx.GraphModule
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Repeat:
    """`length` equations of one form: (o_0, ..., o_m)_t = body(reads_t), kept rolled.

    Placeholder j of `body` receives reads[j] at step t; `body` returns a tuple. `source` is the user's line. With
    `until`, some of the equations are solved only, in order.
    """

    name: str
    body: fx.GraphModule
    length: int
    reads: tuple[Read, ...]
    writes: tuple[Write, ...]
    source: str = ""
    until: Until | Along | None = None


Equation = Block | Repeat


@dataclass(frozen=True, repr=False)
class System:
    """Equations in program order, the names they start from, and the names that are the program's outputs."""

    inputs: tuple[str, ...]
    equations: tuple[Equation, ...]
    outputs: tuple[str, ...]

    @property
    def repeats(self) -> tuple[Repeat, ...]:
        return tuple(e for e in self.equations if isinstance(e, Repeat))

    def __repr__(self) -> str:
        """One line, without the graphs; `ir.text.system_text` has all of it."""
        names = (f"{one.name} x {one.length}" if isinstance(one, Repeat) else one.name for one in self.equations)
        return f"System(({', '.join(self.inputs)}) -> {', '.join(names)} -> ({', '.join(self.outputs)}))"


def inputs_of(equation: Equation) -> tuple[str, ...]:
    """The names that an equation reads from outside itself."""
    if isinstance(equation, Block):
        return equation.inputs
    until = equation.until.names if equation.until is not None else ()
    return (*(name for read in equation.reads for name in read.names), *until)


def outputs_of(equation: Equation) -> tuple[str, ...]:
    """The names that an equation writes."""
    if isinstance(equation, Block):
        return equation.outputs
    return tuple(write.name for write in equation.writes)


def numbers_written(equation: Equation) -> tuple[str, ...]:
    """The names of those values of an equation that are numbers of Python."""
    if isinstance(equation, Block):
        return ()
    results: Any = equation.body.graph.output_node().args[0]
    read = dict(zip(equation.body.graph.find_nodes(op="placeholder"), equation.reads, strict=True))
    lasts = [write for write in equation.writes if isinstance(write, LastStep)]
    numbers = [write.name for write in lasts if isinstance(read.get(results[write.output]), Table)]
    return (*numbers, *(write.name for write in equation.writes if isinstance(write, Count)))
