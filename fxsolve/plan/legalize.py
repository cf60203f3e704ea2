"""Schedules that a user asks for, made legal: what a loop cannot run becomes what it can, with the reason."""

from collections.abc import Collection
from dataclasses import dataclass

from fxsolve.errors import PartitionError
from fxsolve.ir.nested import every_repeat
from fxsolve.ir.spec import Repeat, System
from fxsolve.ops.facts import FACTS, Facts
from fxsolve.plan.complete import in_order
from fxsolve.plan.decision import Candidate, Choice, Decision
from fxsolve.plan.method import MethodNode, Part
from fxsolve.plan.methods.levels import Levels
from fxsolve.plan.proofs import CAUSAL, STOPS, UNKNOWN, Proofs, first_obstacle
from fxsolve.plan.schedule import Schedule, map_parts, name_of, parts_by_repeat, text_of
from fxsolve.plan.structural import Known

ASKED = "asked for"


@dataclass(frozen=True)
class _Judgement:
    """What was found of a repeat for the `method` asked for; `obstacle` is the reason not to use it."""

    repeat: Repeat
    method: MethodNode | None = None
    obstacle: str | None = None
    causal: str = ""
    depth: int | None = None


def legalize_unproved(
    system: System, schedule: Schedule, structural: Known, backend: str = "inductor", table: Facts = FACTS
) -> Decision:
    """A decision for `schedule`, in which a loop that its method does not fit runs in order instead, with a note.

    A method fits where every fact that it requires is proved; what it leaves open, as the depth of levels, is filled
    in. `structural` is what is the same in every run, `table` what is known of each op.
    """
    known = {repeat.name: structural for repeat in system.repeats}
    proofs = [Proofs(one, known.get(one.name, UNKNOWN), backend, table) for one in every_repeat(system)]
    parts = parts_by_repeat(schedule)
    judged = [_judge(one, parts.get(one.repeat.name, ())) for one in proofs]
    settled = {one.repeat.name: one.method for one in judged if one.method is not None and one.obstacle is None}
    safe = legalize(map_parts(schedule, lambda part: _filled(part, settled)), [o.repeat for o in judged if o.obstacle])
    parts = parts_by_repeat(safe)
    choices = tuple(_choice(one, parts.get(one.repeat.name, ())) for one in judged)
    notes = tuple(f"{one.repeat.name} runs in order: {one.obstacle}" for one in judged if one.obstacle is not None)
    return Decision(safe, choices, notes)


def _judge(proofs: Proofs, parts: tuple[Part, ...]) -> _Judgement:
    repeat, method = proofs.repeat, next((part for part in parts if isinstance(part, MethodNode)), None)
    if method is None:
        return _Judgement(repeat)
    stops = repeat.until is not None and STOPS not in method.requires
    obstacle = "it stops on a value" if stops else first_obstacle(method.requires, proofs)
    if obstacle is None:
        try:
            method = method.settle(proofs)
        except PartitionError as error:
            obstacle = str(error)
    if CAUSAL not in method.requires:
        return _Judgement(repeat, method, obstacle)
    depth = method.depth if isinstance(method, Levels) else proofs.causality.depth
    return _Judgement(repeat, method, obstacle, proofs.causality.found, depth)


def _filled(part: Part, settled: dict[str, MethodNode]) -> Part:
    """A method that takes all steps of a repeat, with everything filled in; any other as it is."""
    method = settled.get(name_of(part))
    return method if method is not None and method.takes_all and isinstance(part, MethodNode) else part


def legalize(schedule: Schedule, repeats: Collection[Repeat]) -> Schedule:
    """The schedule with all steps of `repeats` in order."""
    plain = {repeat.name: in_order(repeat) for repeat in repeats}
    names = frozenset(plain)

    def change(part: Part) -> Part | None:
        # Where a repeat has several parts, the first stands for all of them.
        return plain.pop(name_of(part), None) if name_of(part) in names else part

    return map_parts(schedule, change)


def _choice(judgement: _Judgement, parts: tuple[Part, ...]) -> Choice:
    repeat, causal = judgement.repeat, judgement.causal
    parts = parts or (in_order(repeat),)
    text = text_of(parts)
    if judgement.obstacle is None:
        remark = judgement.method.remark if judgement.method else ""
        asked = Candidate(text, "eager", None, "not tried", f"{ASKED}{remark}")
        return Choice(repeat.name, parts, asked, causal=causal, depth=judgement.depth)
    name = judgement.method.name if judgement.method else ""
    rejected = Candidate(f"{name}({repeat.name})", "eager", None, "not tried", judgement.obstacle)
    safe = Candidate(text, "eager", None, "not tried", "the safe one")
    return Choice(repeat.name, parts, safe, (rejected,), causal=causal)
