"""Schedules that a user asks for, made safe."""

from torch import Tensor

from fxsolve.errors import PartitionError
from fxsolve.partitioner.batch import batch
from fxsolve.scheduler.causality import Causality, judge, structural_values
from fxsolve.scheduler.decision import Candidate, Choice, Decision
from fxsolve.scheduler.schedule import GaussSeidel, Jacobi, Schedule, Steps
from fxsolve.system.spec import Repeat, System
from fxsolve.tracer.program import Program


def demote_unproved(program: Program, system: System, schedule: Schedule) -> Decision:
    """A decision for `schedule`, in which a loop that cannot be swept safely runs in order instead, with a note.

    Jacobi needs a body that can be batched and, where a buffer is read whole, a proof that no step reads its own or a
    later entry.
    """
    structural = structural_values(program, system)
    judged = {r.name: _judge(r, structural) for r in system.repeats if _has_jacobi(schedule, r.name)}
    obstacles = {name: causality.obstacle for name, causality in judged.items() if causality.obstacle is not None}
    safe = _demote(schedule, frozenset(obstacles))
    choices = tuple(_choice(repeat, safe, judged.get(repeat.name, Causality())) for repeat in system.repeats)
    notes = tuple(f"{name} runs in order: {obstacle}" for name, obstacle in obstacles.items())
    return Decision(safe, choices, notes=notes)


def _judge(repeat: Repeat, structural: list[dict[str, Tensor]]) -> Causality:
    causality = judge(repeat, structural)
    if causality.obstacle is None:
        try:
            batch(repeat, repeat.length)
        except PartitionError as error:
            return Causality(obstacle=str(error))
    return causality


def _has_jacobi(schedule: Schedule, repeat: str) -> bool:
    match schedule:
        case Jacobi(Steps(name, _, _), _):
            return name == repeat
        case GaussSeidel(children):
            return any(_has_jacobi(child, repeat) for child in children)
    return False


def _demote(schedule: Schedule, repeats: frozenset[str]) -> Schedule:
    match schedule:
        case Jacobi(child, _) if child.repeat in repeats:
            return child
        case GaussSeidel(children):
            return GaussSeidel(tuple(_demote(child, repeats) for child in children))
    return schedule


def _choice(repeat: Repeat, schedule: Schedule, causality: Causality) -> Choice:
    parts = tuple(_parts(schedule, repeat.name))
    text = str(GaussSeidel(parts)) if len(parts) > 1 else str(next(iter(parts)))
    if causality.obstacle is None:
        asked = Candidate(text, "eager", None, "not tried", "asked for")
        return Choice(repeat.name, parts, asked, causal=causality.found)
    rejected = Candidate(f"jacobi({repeat.name})", "eager", None, "not tried", causality.obstacle)
    safe = Candidate(text, "eager", None, "not tried", "the safe one")
    return Choice(repeat.name, parts, safe, (rejected,), causal=causality.found)


def _parts(schedule: Schedule, repeat: str) -> list[Schedule]:
    match schedule:
        case Steps(name, _, _) | Jacobi(Steps(name, _, _), _) if name == repeat:
            return [schedule]
        case GaussSeidel(children):
            return [part for child in children for part in _parts(child, repeat)]
    return []
