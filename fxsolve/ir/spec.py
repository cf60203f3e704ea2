"""The equations of a program as data: blocks, rolled repeats, and how they read one another.

Values are named by strings. A `System` is an ordered list of equations; each name is written once and read only
after it was written, so running the list in order is one Gauss-Seidel sweep and equals the program.
"""

from dataclasses import dataclass

from torch import fx


@dataclass(frozen=True)
class Invariant:
    """The same value at every step."""

    source: str


@dataclass(frozen=True)
class Stacked:
    """A different value at each step: sources[t]."""

    sources: tuple[str, ...]


@dataclass(frozen=True)
class Slices:
    """Entry index[t] of one tensor along `dim`: source.select(dim, index[t])."""

    source: str
    dim: int
    index: tuple[int, ...]


@dataclass(frozen=True)
class Table:
    """A Python number that changes with the step: values[t]."""

    values: tuple[int | float, ...]


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


@dataclass(frozen=True)
class Prefix:
    """A buffer, read whole, whose entry index[t] along `dim` is written by output number `output` at step t.

    `initial` names the buffer before the first step; the entries written so far are x_<t.
    """

    output: int
    initial: str
    dim: int
    index: tuple[int, ...]


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


Write = AllSteps | LastStep | FinalBuffer


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

    Placeholder j of `body` receives reads[j] at step t; `body` returns a tuple. `source` is the user's line.
    """

    name: str
    body: fx.GraphModule
    length: int
    reads: tuple[Read, ...]
    writes: tuple[Write, ...]
    source: str = ""


Equation = Block | Repeat


@dataclass(frozen=True)
class System:
    """Equations in program order, the names they start from, and the names that are the program's outputs."""

    inputs: tuple[str, ...]
    equations: tuple[Equation, ...]
    outputs: tuple[str, ...]

    @property
    def repeats(self) -> tuple[Repeat, ...]:
        return tuple(e for e in self.equations if isinstance(e, Repeat))


def read_names(read: Read) -> tuple[str, ...]:
    """The names of values outside the repeat that `read` uses."""
    match read:
        case Invariant(source) | Slices(source, _, _):
            return (source,)
        case Stacked(sources):
            return sources
        case Table():
            return ()
        case Lag(_, initial):
            return initial
        case Prefix(_, initial, _, _):
            return (initial,)


def inputs_of(equation: Equation) -> tuple[str, ...]:
    """The names that an equation reads from outside itself."""
    if isinstance(equation, Block):
        return equation.inputs
    return tuple(name for read in equation.reads for name in read_names(read))


def outputs_of(equation: Equation) -> tuple[str, ...]:
    """The names that an equation writes."""
    if isinstance(equation, Block):
        return equation.outputs
    return tuple(write.name for write in equation.writes)
