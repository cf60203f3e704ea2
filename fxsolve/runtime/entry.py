"""The first call of a kind: run the program once, by recording it or next to two recordings, and compile it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from fxsolve.capture.capture import capture, name_of
from fxsolve.capture.communication import HappenedError, Outcome
from fxsolve.capture.program import Program
from fxsolve.capture.record.output import rebuild
from fxsolve.errors import CaptureError, PartitionError
from fxsolve.loops.generalize.counting import Lengths
from fxsolve.loops.partition import Partition
from fxsolve.loops.stopping.counts import Folded, join_counts
from fxsolve.loops.stopping.find import MIN_STEPS
from fxsolve.loops.stopping.fold import fold_stops
from fxsolve.report.difference import within
from fxsolve.report.report import Report
from fxsolve.report.units import time_text
from fxsolve.runtime.compilation import Compilation
from fxsolve.runtime.entries import Costs, Entry, Options, Refusal
from fxsolve.runtime.family import Member, grow
from fxsolve.runtime.faults import internal_error
from fxsolve.runtime.gradients import Original
from fxsolve.runtime.making import Maker
from fxsolve.runtime.relatives import Relatives
from fxsolve.runtime.set_first import find_made
from fxsolve.runtime.visit import Visit
from fxsolve.stages import Clock
from fxsolve.state.contents import contents_of
from fxsolve.state.generators import rewinder_of
from fxsolve.state.stores import Live
from fxsolve.torch_compat.trees import pytree


@dataclass(frozen=True)
class _Refusal:
    """Why a program was not recorded; the outcome of its run where that stands for the call."""

    reason: str
    outcome: Outcome | None = None


def build(
    program: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    options: Options,
    relatives: Relatives,
    live: Live,
    learn: Callable[[Program], None],
    costs: Costs,
    follows: bool = False,
    earlier: tuple[Folded, ...] = (),
) -> tuple[Entry, Any]:
    """Run the program once, and compile it for calls like this one. Returns the entry and the program's result.

    Two of the `relatives`, recordings at other lengths, save recording this one where they tell what it looks like.
    Whatever keeps the program from being compiled, errors of the compiler included, is told in the report, and the
    original keeps running. What the program itself raises is raised. `learn` is called with the recorded program. With
    `follows`, numbers that it reads are followed through its Python code; `earlier` recordings of such calls, in which
    loops took other numbers of steps, tell which numbers depend on these.
    """
    clock, original = Clock(), Original(program, args, kwargs)
    report = Report(program=name_of(program), status="left alone")
    visit = Visit(program, args, kwargs, live.counters)
    rewind = rewinder_of(program, visit.leaves)
    for one, two, lengths in relatives.pairs(args, kwargs, clock):
        grown = _grow(one, two, lengths, visit, rewind, clock)
        if not isinstance(grown, str):
            maker = Maker(*grown, options, clock, report, costs.purse)
            entry = Compilation(original, maker, rewind, costs.reading).entry()
            if entry.ready is not None or (entry.report.check is not None and within(entry.report.check)):
                learn(grown[0])
                return _timed(entry, clock), rebuild(grown[0].output, grown[0].example.outputs)
            grown[0].example.before.put_back()
            grown = entry.report.reason
        relatives.refused = grown
        rewind()
    captured = _capture(program, args, kwargs, live, follows, clock)
    if isinstance(captured, _Refusal):
        left = replace(report, reason=captured.reason, seconds=_seconds(clock))
        # Outside of any except block: an error of the program then has no other error in its context.
        if captured.outcome is not None:
            return Entry(left, has_communicated=True), captured.outcome.get()
        before = contents_of(visit.reach)
        result = program(*args, **kwargs)
        return Entry(left, refusal=Refusal(wrote=contents_of(visit.reach) != before)), result
    captured = _with_made(captured, original, live, rewind)
    learn(captured)
    report = replace(report, calls=_count_calls(captured), draws=len(captured.draws), guards=len(captured.guards))
    result = rebuild(captured.output, captured.example.outputs)
    captured = clock.time("partition", _fold, captured, earlier)
    maker = Maker(captured, None, options, clock, report, costs.purse)
    entry = _timed(Compilation(original, maker, rewind, costs.reading).entry(), clock)
    entry = replace(entry, is_undecided=_is_undecided(entry, captured, follows))
    return replace(entry, report=replace(entry.report, notes=(*entry.report.notes, *relatives.notes))), result


def _is_undecided(entry: Entry, captured: Program, follows: bool) -> bool:
    """Whether another call may show a loop that stops on a value, where this one leaves the program alone.

    Followed, a number that decides about steps is compared, and no longer read itself.
    """
    if entry.is_undecided:
        return any(type(guard.expected) is bool or not follows for guard in captured.guards)
    if entry.ready is not None or entry.decision is not None or follows:
        return False
    lines = Counter(guard.source for guard in captured.guards if type(guard.expected) is not bool)
    return max(lines.values(), default=0) > MIN_STEPS


def _capture(
    program: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], live: Live, follows: bool, clock: Clock
) -> Program | _Refusal:
    """The recorded program, or why there is none.

    An error that is no `CaptureError` is either raised by the program, which raises it again when it runs as written,
    or by the compiler.
    """
    # A cast that autocast kept from an earlier call would be recorded as a constant.
    torch.clear_autocast_cache()
    try:
        return clock.time("capture", capture, program, args, kwargs, live, follows)
    except HappenedError as error:
        return _Refusal(str(error), error.outcome)
    except CaptureError as error:
        return _Refusal(str(error))
    except Exception as error:
        return _Refusal(internal_error("capture", error))


def _fold(captured: Program, earlier: tuple[Folded, ...]) -> Program:
    """The program with its loops that stop on a value; as it is, with a note, where the compiler fails."""
    try:
        folded = fold_stops(captured)
        return next((made for one in earlier if (made := join_counts(one, folded)) is not None), folded)
    except Exception as error:
        return replace(captured, notes=(*captured.notes, internal_error("loops that stop on a value", error)))


def _with_made(captured: Program, original: Original, live: Live, rewind: Callable[[], None]) -> Program:
    """The program, with what it was seen to set before it looks at it."""
    leaves = pytree.tree_leaves((original.args, original.kwargs))
    put_back = rewinder_of(original.program, leaves)
    rewind()
    try:
        made = find_made(original, captured, live.made)
    finally:
        put_back()
    return replace(captured, stores=replace(captured.stores, made=made))


def _grow(
    one: Member, two: Member, lengths: Lengths, visit: Visit, rewind: Callable[[], None], clock: Clock
) -> tuple[Program, Partition] | str:
    """The program and its equations from recordings at two other lengths, and one plain run of it at this one.

    What they do not tell is the reason that is returned instead.
    """
    before = clock.seconds.get("run", 0.0)
    try:
        captured, system = clock.time("run", grow, one, two, lengths, visit, rewind)
    except PartitionError as error:
        return str(error)
    except Exception as error:
        return internal_error("run", error)
    seconds = clock.seconds["run"] - before
    note = (
        f"not recorded: recordings at the lengths {lengths.first} and {lengths.second} tell its equations; checked "
        f"against one run of the program, which took {time_text(seconds)}"
    )
    return captured, Partition(system, (note,), tuple(one.watched))


def _timed(entry: Entry, clock: Clock) -> Entry:
    return replace(entry, report=replace(entry.report, seconds=_seconds(clock)))


def _count_calls(program: Program) -> int:
    return sum(node.op == "call_function" for node in program.module.graph.nodes)


def _seconds(clock: Clock) -> tuple[tuple[str, float], ...]:
    return tuple(clock.seconds.items())
