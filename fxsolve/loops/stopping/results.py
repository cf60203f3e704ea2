"""What a loop that stops on a value is given, and what is wanted of it."""

from dataclasses import dataclass

from fxsolve.ir.spec import Repeat
from fxsolve.structure.slots import Value


@dataclass(frozen=True)
class Stack:
    """All steps of output `output` of call `position`."""

    position: int
    output: int


@dataclass(frozen=True)
class Result:
    """A value that is read behind the loop: output `output` of call `position`, `back` steps before the last one."""

    position: int
    output: int
    back: int


@dataclass(frozen=True)
class StepNumber:
    """Number `column` of those of a step, `back` steps before the last one."""

    column: int
    back: int


Wanted = Result | Stack | StepNumber


@dataclass(frozen=True)
class StoppingStep:
    """A repeat; the values behind the names that it reads, some of them stacks; what stands behind those it writes."""

    repeat: Repeat
    given: dict[str, Value | Stack]
    results: dict[str, Wanted]
    may_be_none: bool  # whether there are results where no step runs
