"""Schedules that a user asks for, made safe."""

from fxsolve.errors import PartitionError
from fxsolve.partitioner.batch import batch
from fxsolve.scheduler.causality import find_leak, structural_values
from fxsolve.scheduler.decision import Candidate, Choice, Decision
from fxsolve.scheduler.schedule import GaussSeidel, Jacobi, Schedule, Steps
from fxsolve.system.spec import Prefix, Repeat, System
from fxsolve.tracer.program import Program


def demote_unproved(program: Program, system: System, schedule: Schedule) -> Decision:
    """A decision for `schedule`, in which a loop that cannot be swept safely runs in order instead, with a note.

    Jacobi needs a body that can be batched and, where a buffer is read whole, a proof that no step reads its own or a
    later entry.
    """
    structural = structural_values(program, system)
    obstacles = {
        repeat.name: obstacle
        for repeat in system.repeats
        if _has_jacobi(schedule, repeat.name) and (obstacle := _obstacle(repeat, structural)) is not None
    }
    safe = _demote(schedule, frozenset(obstacles))
    choices = tuple(_choice(repeat, safe, obstacles.get(repeat.name)) for repeat in system.repeats)
    notes = tuple(f"{name} runs in order: {obstacle}" for name, obstacle in obstacles.items())
    return Decision(safe, choices, notes=notes)


def _obstacle(repeat: Repeat, structural: list[dict]) -> str | None:
    try:
        if any(isinstance(read, Prefix) for read in repeat.reads):
            leak = find_leak(repeat, structural)
            return None if leak is None else f"causality not shown: {leak}"
        batch(repeat, repeat.length)
    except PartitionError as error:
        return str(error)
    return None


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


def _choice(repeat: Repeat, schedule: Schedule, obstacle: str | None) -> Choice:
    parts = _parts(schedule, repeat.name)
    text = str(GaussSeidel(tuple(parts))) if len(parts) > 1 else str(parts[0])
    if obstacle is None:
        asked = Candidate(text, "eager", None, "not tried", "asked for")
        proved = _has_jacobi(schedule, repeat.name) and any(isinstance(read, Prefix) for read in repeat.reads)
        return Choice(repeat.name, tuple(parts), asked, causal="proved" if proved else "")
    rejected = Candidate(f"jacobi({repeat.name})", "eager", None, "not tried", obstacle)
    return Choice(repeat.name, tuple(parts), Candidate(text, "eager", None, "not tried", "the safe one"), (rejected,))


def _parts(schedule: Schedule, repeat: str) -> list[Schedule]:
    match schedule:
        case Steps(name, _, _) | Jacobi(Steps(name, _, _), _) if name == repeat:
            return [schedule]
        case GaussSeidel(children):
            return [part for child in children for part in _parts(child, repeat)]
    return []
