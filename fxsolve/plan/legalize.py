"""Schedules that a user asks for, made legal: what a loop cannot run becomes what it can, with the reason."""

from dataclasses import dataclass, field, replace

from fxsolve.capture.program import Program
from fxsolve.errors import PartitionError
from fxsolve.ir.nested import every_repeat
from fxsolve.ir.spec import Lag, Repeat, System
from fxsolve.lower.batch import batch
from fxsolve.lower.linearize import linearize
from fxsolve.plan.causality import Causality, judge
from fxsolve.plan.decision import Candidate, Choice, Decision
from fxsolve.plan.depth import dependency_depth
from fxsolve.plan.facts import find_facts
from fxsolve.plan.method import Chunks, Method, Part, Steps, steps_of
from fxsolve.plan.methods.jacobi import Jacobi
from fxsolve.plan.methods.levels import Levels
from fxsolve.plan.methods.newton import Newton
from fxsolve.plan.methods.scan import Scan
from fxsolve.plan.nests import UNKNOWN
from fxsolve.plan.samples import sample_loops
from fxsolve.plan.schedule import Apply, GaussSeidel, Schedule, parts_of, text_of
from fxsolve.plan.structural import Known, structural_values
from fxsolve.plan.trial import in_order
from fxsolve.rewrite.sums.fold import fold_sums, is_sum


@dataclass(frozen=True)
class _Judgement:
    """What was found of a repeat for the method asked for; `obstacle` is the reason not to use it."""

    method: Method | None = None
    causality: Causality = field(default_factory=Causality)
    obstacle: str | None = None
    depth: int | None = None


def legalize_unproved(program: Program, system: System, schedule: Schedule) -> Decision:
    """A decision for `schedule`, in which a loop that its method does not fit runs in order instead, with a note.

    All steps at once need a body that can be batched and, where a buffer is read whole, a proof that no step reads its
    own or a later entry; Newton steps need a state of real numbers and its Jacobian, a scan an affine step too.
    """
    structural = structural_values(program, system)
    known = {repeat.name: structural for repeat in system.repeats}
    judged = {one.name: _judge(one, schedule, known.get(one.name, UNKNOWN)) for one in every_repeat(system)}
    obstacles = {name: judgement.obstacle for name, judgement in judged.items() if judgement.obstacle is not None}
    safe = legalize(schedule, frozenset(obstacles))
    choices = tuple(_choice(repeat, safe, judged[repeat.name]) for repeat in every_repeat(system))
    notes = tuple(f"{name} runs in order: {obstacle}" for name, obstacle in obstacles.items())
    depths = {name: judgement.depth for name, judgement in judged.items() if judgement.depth is not None}
    return Decision(safe, choices, notes=notes, depths=depths)


def _judge(repeat: Repeat, schedule: Schedule, structural: Known) -> _Judgement:
    method = next((part for part in parts_of(schedule, repeat.name) if not isinstance(part, Steps)), None)
    if method is None:
        return _Judgement()
    causality = judge(repeat, structural)
    if causality.obstacle is not None:
        return _Judgement(method, causality, causality.obstacle)
    try:
        _check(repeat, method)
        depth = dependency_depth(repeat, structural) if isinstance(method, Levels) else causality.depth
    except PartitionError as error:
        return _Judgement(method, Causality(), str(error))
    return _Judgement(method, causality, None, depth)


def _check(repeat: Repeat, method: Method) -> None:
    """Raise `PartitionError` with the reason why a method cannot solve a repeat."""
    if isinstance(method, Scan) and is_sum(repeat):
        for part in fold_sums(repeat):
            if isinstance(part, Repeat):
                batch(part, part.length)
        return
    if isinstance(method, Jacobi) and isinstance(method.child, Chunks):
        _check_chunks(repeat, method.child.length)
    if isinstance(method, Jacobi) and method.samples:
        sample_loops(repeat, method.samples, [0, repeat.length])
    if not isinstance(method, (Newton, Scan)):
        batch(repeat, repeat.length)
        return
    facts = find_facts(repeat)
    if facts.layout is None:
        raise PartitionError(facts.obstacle)
    if isinstance(method, Scan) and not facts.affine:
        raise PartitionError("a step is not proved to be affine in what it carries")
    linearize(repeat, facts.layout, 1)


def _check_chunks(repeat: Repeat, length: int) -> None:
    longest = max((read.distance for read in repeat.reads if isinstance(read, Lag)), default=1)
    if length < longest:
        raise PartitionError(f"chunks of {length} steps are shorter than the longest lag, {longest}")


def legalize(schedule: Schedule, repeats: frozenset[str]) -> Schedule:
    """The schedule with the steps of `repeats` in order."""
    if isinstance(schedule, GaussSeidel):
        return GaussSeidel(tuple(legalize(child, repeats) for child in schedule.children))
    if isinstance(schedule, Apply):
        return schedule
    if isinstance(schedule, Steps):
        return replace(schedule, inside=tuple(legalize(child, repeats) for child in schedule.inside))
    return steps_of(schedule) if steps_of(schedule).repeat in repeats else schedule


def _choice(repeat: Repeat, schedule: Schedule, judgement: _Judgement) -> Choice:
    parts: tuple[Part, ...] = parts_of(schedule, repeat.name) or (in_order(repeat),)
    text = text_of(parts)
    causal = judgement.causality.found
    if judgement.obstacle is None:
        asked = Candidate(text, "eager", None, "not tried", "asked for")
        return Choice(repeat.name, parts, asked, causal=causal, depth=judgement.depth)
    name = type(judgement.method).__name__.lower()
    rejected = Candidate(f"{name}({repeat.name})", "eager", None, "not tried", judgement.obstacle)
    safe = Candidate(text, "eager", None, "not tried", "the safe one")
    return Choice(repeat.name, parts, safe, (rejected,), causal=causal)
