"""One loop to decide about, a way to solve it that was weighed, and what is asked of methods for it."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property

from fxsolve.ir.spec import Repeat
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.lower.arguments import Values
from fxsolve.ops.facts import FACTS, Facts
from fxsolve.plan.budget import Budget
from fxsolve.plan.decision import Candidate
from fxsolve.plan.method import MethodNode, Part
from fxsolve.plan.proofs import Proofs
from fxsolve.plan.purse import Purse
from fxsolve.plan.schedule import text_of
from fxsolve.plan.structural import Known
from fxsolve.solvers.stop import Stop


@dataclass(frozen=True)
class Situation:
    """One repeat, the values that it reads, and what the user allows; `asked` is the stop test that he names.

    `solves` is how often it is solved in one run: once, or in every step of the repeat that it lies in. The `purse` is
    that of all loops of the program; `methods` are those that may be chosen; `table` is what is known of each op.
    """

    repeat: Repeat
    values: Values
    structural: Known
    stop: Stop
    backend: str
    asked: Stop | None = None
    solves: int = 1
    purse: Purse = field(default_factory=Budget)
    methods: tuple[type[MethodNode], ...] = ()
    table: Facts = field(default_factory=lambda: FACTS)

    @cached_property
    def proofs(self) -> Proofs:
        """What can be proved of the repeat; each proof is made once."""
        return Proofs(self.repeat, self.structural, self.backend, self.table)


@dataclass(frozen=True)
class Trial:
    """A schedule that was weighed; `sweeps` is None where it is ruled out, 0 where it needs none."""

    candidate: Candidate
    parts: tuple[Part, ...]
    sweeps: int | None
    sweep: float | None = None

    @property
    def seconds(self) -> float:
        assert self.candidate.seconds is not None
        return self.candidate.seconds


@dataclass(frozen=True)
class Weighed:
    """What is known of a recurrence so far: the `seconds` of a step in order, and the trials of other methods."""

    repeat: Repeat
    step: float
    trials: tuple[Trial, ...] = ()

    @property
    def total(self) -> float:
        """The seconds of all steps in order."""
        return self.step * self.repeat.length

    @property
    def best(self) -> float:
        """The seconds of the fastest solve so far, that in order among them only where there is no other."""
        return min((trial.seconds for trial in self.trials if trial.sweeps is not None), default=self.total)

    @property
    def sweep(self) -> float | None:
        """The least seconds of one sweep of all steps, where any was measured."""
        seconds = (trial.sweep * len(trial.parts) for trial in self.trials if trial.sweep is not None)
        return min(seconds, default=None)


def ruled_out(parts: tuple[Part, ...], reason: str, backend: str = "eager") -> Trial:
    """A schedule that was not measured, and why."""
    return Trial(Candidate(text_of(parts), backend, None, "not tried", reason), parts, None)


def step_bytes(repeat: Repeat) -> int:
    """Memory of all values of one step, which a sweep holds for every step of its window."""
    specs = [node.meta.get("spec") for node in repeat.body.graph.nodes if node.op == "call_function"]
    return sum(math.prod(spec.shape) * spec.dtype.itemsize for spec in specs if isinstance(spec, TensorSpec))


class Priced(ABC):
    """A method with a price; one without is never weighed for a recurrence."""

    @classmethod
    @abstractmethod
    def price(cls, situation: Situation, weighed: Weighed) -> list[Trial]:
        """What it costs to solve a recurrence so, measured, or why that is ruled out; nothing where nobody asks."""


class Refined(ABC):
    """A method with options that are worth trying once it is the best of all."""

    @abstractmethod
    def refine(self, situation: Situation, best: Trial) -> Trial | None:
        """The `best` trial of all, which is of this method, with other options, where these may be faster."""
