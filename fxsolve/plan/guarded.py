"""Loops that lead to what the program reads, and must give it to the last bit."""

from collections.abc import Iterator
from dataclasses import replace

from fxsolve.capture.program import Guard, Program
from fxsolve.ir.nested import every_repeat, with_loops_inside
from fxsolve.ir.spec import Repeat, System, inputs_of, outputs_of
from fxsolve.plan.complete import in_order
from fxsolve.plan.decision import Candidate, Choice, Decision
from fxsolve.plan.legalize import legalize
from fxsolve.plan.schedule import runs_in_order, text_of


def exact_for(program: Program, system: System, decision: Decision, failed: int) -> Decision | None:
    """The decision with all loops in order that lead to guard number `failed`; None if they run in order already.

    So do those that lead to any real number that is read: of these, no guard lets even the last bit pass.
    """
    numbers = {failed, *(k for k, guard in enumerate(program.guards) if _is_inexact(guard))}
    first = len(system.outputs) - len(program.guards)
    leading = _leading(system, {system.outputs[first + number] for number in numbers})
    free = [one for one in leading if _is_free(decision, one)]
    if not free:
        return None
    names = frozenset(one.name for one in free)
    reason = f"what the program reads at {program.guards[failed].source} came out differently"
    return replace(
        decision,
        schedule=legalize(decision.schedule, free),
        choices=tuple(_exact(choice, names, system, reason) for choice in decision.choices),
        notes=(*decision.notes, *(f"{name} runs in order: {reason}" for name in sorted(names))),
    )


def _is_inexact(guard: Guard) -> bool:
    read = guard.expected if isinstance(guard.expected, tuple) else (guard.expected,)
    return any(isinstance(number, (float, complex)) for number in read)


def _leading(system: System, wanted: set[str]) -> Iterator[Repeat]:
    """The repeats that the wanted values depend on, and those inside their steps."""
    for equation in reversed(system.equations):
        if wanted.isdisjoint(outputs_of(equation)):
            continue
        wanted = wanted.union(inputs_of(equation))
        if isinstance(equation, Repeat):
            yield from with_loops_inside(equation)


def _is_free(decision: Decision, repeat: Repeat) -> bool:
    """Whether a repeat is solved by anything but its own steps in order."""
    choice = next(choice for choice in decision.choices if choice.repeat == repeat.name)
    return not all(map(runs_in_order, choice.parts))


def _exact(choice: Choice, names: frozenset[str], system: System, reason: str) -> Choice:
    if choice.repeat not in names:
        return choice
    repeat = next(one for one in every_repeat(system) if one.name == choice.repeat)
    parts = (in_order(repeat),)
    safe = Candidate(text_of(parts), "eager", None, "not tried", reason)
    rejected = (choice.chosen, *choice.rejected)
    return replace(choice, parts=parts, chosen=safe, rejected=rejected, sweeps=None)
