"""Methods: how steps of one repeat are solved, as values; `str` gives their text form."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, dataclass, fields, replace
from typing import Any, ClassVar

from fxsolve.ir.spec import Repeat
from fxsolve.plan.proofs import Proofs, Requirement
from fxsolve.plan.reader import TextReader
from fxsolve.plan.solver import Solver
from fxsolve.solvers.stop import Stop


@dataclass(frozen=True)
class Steps:
    """Steps start <= t < stop of a repeat: the leaf that a method acts on; alone it runs them in order.

    `inside` says how repeats inside a step are solved; those that it does not name run all of their steps in order.
    """

    repeat: str
    start: int
    stop: int
    inside: tuple[Any, ...] = ()

    def __str__(self) -> str:
        inside = f"({', '.join(children_text(self.inside))})" if self.inside else ""
        return f"{self.repeat}[{self.start}:{self.stop}]{inside}"


@dataclass(frozen=True)
class Chunks:
    """Steps of a repeat in chunks of `length`, the last one maybe shorter, each run in order."""

    steps: Steps
    length: int

    def __str__(self) -> str:
        return f"gs({self.steps.repeat}[{self.steps.start}:{self.steps.stop}:{self.length}])"


@dataclass(frozen=True)
class Option:
    """`name=value` in the text of a method, for its field of that name: how the value is read, and written.

    A field with a default is not written where it has it, and must be written in every text where it has none.
    """

    name: str
    read: Callable[[TextReader], Any]
    write: Callable[[Any], str] = str


@dataclass(frozen=True)
class MethodNode(ABC):
    """How steps of one repeat are solved; each method is a frozen dataclass in a file of `methods`.

    Its text is `name(steps, option=value, ...)`; it fits a repeat of which all facts hold that it `requires`. `by_name`
    says that the name alone means every recurrence,
    `chunked` that it may act on `Chunks`,
    `in_order` that the program's own steps run one after another, to the same bits and in the same layout, and
    `guesses` that steps see values, on the way, that they do not have in the end.
    """

    name: ClassVar[str]
    options: ClassVar[tuple[Option, ...]] = ()
    requires: ClassVar[tuple[Requirement, ...]] = ()
    by_name: ClassVar[bool] = False
    in_order: ClassVar[bool] = False
    guesses: ClassVar[bool] = False
    chunked: ClassVar[bool] = False
    child: Steps | Chunks

    @property
    def kind(self) -> str:
        """What all parts of one repeat must have in common."""
        return self.name

    @property
    def over(self) -> str:
        """The text of what it acts on."""
        return str(self.child)

    @property
    def takes_all(self) -> bool:
        """Whether the method cannot leave some of the steps to another call of it."""
        return False

    @property
    def is_loose(self) -> bool:
        """Whether it may end before the values are a fixed point of the batched map bit for bit."""
        return False

    @property
    def remark(self) -> str:
        """What the report says of it besides, behind the reason for which it was taken."""
        return ""

    def exactly(self) -> "Part | None":
        """The same method until nothing changes any more; None where it has no such form."""
        return self

    def check(self, repeat: Repeat) -> None:  # noqa: B027
        """Raise `ScheduleError` where the options make no sense for the repeat; by default, they always do."""

    def settle(self, proofs: Proofs) -> "MethodNode":
        """The method with what is left to be proved filled in, once the facts hold that it requires.

        Raises `PartitionError` where its options do not fit the repeat.
        """
        return self

    @abstractmethod
    def lower(self, repeat: Repeat, parts: Sequence["Part"], stop: Stop | None) -> Solver:
        """The solver of `repeat` as its `parts` say, of which this is one; steps in order are windows of one step.

        `stop` is the test of parts that name none; None for that of the dtype. Raises `PartitionError` if the body
        cannot be batched or linearized.
        """

    def __str__(self) -> str:
        return _method_text((self,))


class WholeMethod(MethodNode):
    """A method of all steps of a repeat."""

    @property
    def takes_all(self) -> bool:
        return True


class Iterative(MethodNode):
    """A method that sweeps until `stop`, or until the test of the states' dtype where it is None."""

    guesses: ClassVar[bool] = True
    stop: Stop | None

    @property
    def is_loose(self) -> bool:
        return self.stop is None or bool(self.stop.atol or self.stop.rtol)

    def exactly(self) -> "Part | None":
        return with_stop(self, Stop(max_sweeps=self.stop.max_sweeps if self.stop else None))


def with_stop(method: Iterative, stop: Stop | None) -> Iterative:
    """The method with another stop test."""
    return replace(method, stop=stop)  # pyright: ignore[reportArgumentType]


def with_steps(method: MethodNode, child: Steps | Chunks) -> MethodNode:
    """The method over other steps."""
    return replace(method, child=child)


Part = Steps | MethodNode


def steps_of(part: Part) -> Steps:
    """The steps that a leaf solves."""
    child = part if isinstance(part, Steps) else part.child
    return child.steps if isinstance(child, Chunks) else child


def whole(repeat: Repeat) -> Steps:
    """All steps of a repeat."""
    return Steps(repeat.name, 0, repeat.length)


# Text.


def children_text(children: Sequence[Any]) -> list[str]:
    """The texts of schedules in a row; a run of one method over equal chunks is one text."""
    texts = []
    rest = tuple(children)
    while rest:
        run = _leading_run(rest)
        texts.append(_method_text(run) if run else str(rest[0]))
        rest = rest[max(len(run), 1) :]
    return texts


def _leading_run(children: tuple[Any, ...]) -> tuple[MethodNode, ...]:
    """The longest start of `children` that is one row of a method over equal chunks; empty if the first is none."""
    run: list[MethodNode] = []
    for child in children:
        if not isinstance(child, MethodNode) or (run and not _continues(run, child)):
            break
        run.append(child)
    return tuple(run)


def _continues(run: list[MethodNode], child: MethodNode) -> bool:
    if isinstance(child.child, Chunks) or with_steps(child, run[0].child) != run[0]:
        return False
    first, last, steps = steps_of(run[0]), steps_of(run[-1]), child.child
    adjacent = steps.repeat == last.repeat and steps.start == last.stop
    is_plain = not first.inside and not steps.inside
    return is_plain and adjacent and _length(last) == _length(first) and 0 < _length(steps) <= _length(first)


def _length(steps: Steps) -> int:
    return steps.stop - steps.start


def _method_text(run: tuple[MethodNode, ...]) -> str:
    first, last = run[0], run[-1]
    steps = steps_of(first)
    over = first.over
    if len(run) > 1:
        over = f"{steps.repeat}[{steps.start}:{steps_of(last).stop}:{_length(steps)}]"
    stop = first.stop if isinstance(first, Iterative) else None
    return f"{first.name}({over}{_options_text(first)}{stop_text(stop)})"


def field_of(method: type[MethodNode], name: str) -> Field[Any]:
    """The field of a method that an option sets."""
    return next(field for field in fields(method) if field.name == name)


def is_required(method: type[MethodNode], option: Option) -> bool:
    """Whether an option must be written in every text."""
    return field_of(method, option.name).default is MISSING


def _options_text(method: MethodNode) -> str:
    given = [(option, getattr(method, option.name)) for option in method.options]
    written = [(option, value) for option, value in given if value != field_of(type(method), option.name).default]
    return "".join(f", {option.name}={option.write(value)}" for option, value in written)


def stop_text(stop: Stop | None) -> str:
    """The options of a stop test, behind what it is the test of."""
    if stop is None:
        return ""
    sweeps = "" if stop.max_sweeps is None else f", max_sweeps={stop.max_sweeps}"
    return f", atol={_number(stop.atol)}, rtol={_number(stop.rtol)}{sweeps}"


def _number(value: float) -> str:
    return "0" if value == 0 else repr(value)
