"""What methods require of a repeat, as facts with names; each is proved from the ops when it is asked for first."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from fxsolve.errors import PartitionError
from fxsolve.ir.reads import is_autonomous
from fxsolve.ir.spec import Repeat
from fxsolve.lower.batch import batch
from fxsolve.lower.linearize import linearize
from fxsolve.lower.unroll import can_unroll
from fxsolve.ops.facts import FACTS
from fxsolve.ops.facts import Facts as Table
from fxsolve.plan.causality import Causality, judge
from fxsolve.plan.facts import Facts, find_facts
from fxsolve.plan.structural import Known
from fxsolve.rewrite.sums.fold import fold_sums, is_sum

UNKNOWN: Known = {}  # what a loop reads differs from one step of the loop around it to the next


@dataclass(frozen=True)
class Proofs:
    """What can be proved of one repeat by the `table` of ops; `structural` is the same in every run of a program."""

    repeat: Repeat
    structural: Known = field(default_factory=dict)
    backend: str = "inductor"
    table: Table = field(default_factory=lambda: FACTS)

    @cached_property
    def causality(self) -> Causality:
        """Whether the buffers that it reads whole are read through their written prefix only."""
        return judge(self.repeat, self.structural, self.table)

    @cached_property
    def adds_up(self) -> bool:
        """Whether all that its steps do is to add up values that depend on no earlier step."""
        return is_sum(self.repeat)

    @cached_property
    def facts(self) -> Facts:
        """What follows from the ops alone."""
        return find_facts(self.repeat, self.table)


@dataclass(frozen=True)
class Requirement:
    """Something that a method needs; `obstacle` says why it does not hold, and is None where it is proved.

    An `obstacle` may raise `PartitionError` with the reason instead.
    """

    name: str
    obstacle: Callable[[Proofs], str | None]


def first_obstacle(facts: tuple[Requirement, ...], proofs: Proofs) -> str | None:
    """Why the first of these facts that does not hold, does not hold."""
    try:
        return next((found for fact in facts if (found := fact.obstacle(proofs)) is not None), None)
    except PartitionError as error:
        return str(error)


def _batched(proofs: Proofs) -> None:
    batch(proofs.repeat, proofs.repeat.length)


def _terms(proofs: Proofs) -> str | None:
    if not proofs.adds_up:
        return "its steps do more than add up"
    for part in fold_sums(proofs.repeat):
        if isinstance(part, Repeat):
            batch(part, part.length)
    return None


def _state(proofs: Proofs) -> str | None:
    return proofs.facts.obstacle if proofs.facts.layout is None else None


def _affine(proofs: Proofs) -> str | None:
    return None if proofs.facts.affine else "a step is not proved to be affine in what it carries"


def _linear(proofs: Proofs) -> None:
    assert proofs.facts.layout is not None
    linearize(proofs.repeat, proofs.facts.layout, 1)


def _same_map(proofs: Proofs) -> str | None:
    return None if is_autonomous(proofs.repeat) else "its steps are not all the same map of the step before"


def _stops(proofs: Proofs) -> str | None:
    return None if proofs.repeat.until is not None else "it stops on no value"


def _unrolled(proofs: Proofs) -> str | None:
    if proofs.backend != "inductor":
        return f"the backend {proofs.backend} compiles no steps"
    if not can_unroll(proofs.repeat):
        return "its steps read more than tensors and the step before, and cannot be compiled together"
    return None


CAUSAL = Requirement("causal", lambda proofs: proofs.causality.obstacle)
BATCHED = Requirement("batched", _batched)
TERMS = Requirement("only adds up", _terms)
STATE = Requirement("a state of real numbers", _state)
AFFINE = Requirement("affine", _affine)
LINEAR = Requirement("a Jacobian", _linear)  # behind STATE
STOPS = Requirement("stops on a value", _stops)
SAME_MAP = Requirement("the same map at every step", _same_map)
UNROLLED = Requirement("compiled together", _unrolled)
