"""The first call of a kind: run the program once, by recording it or next to two recordings, and compile it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from fxsolve.errors import CaptureError, PartitionError
from fxsolve.partitioner.partition import Partition
from fxsolve.report.difference import within
from fxsolve.report.report import Report
from fxsolve.runtime.compilation import Compilation, Entry, Options, internal_error, name_of
from fxsolve.runtime.family import Member, grow
from fxsolve.runtime.ready import generators_of, rewinder
from fxsolve.stages import Clock
from fxsolve.tracer.capture import capture
from fxsolve.tracer.output import rebuild
from fxsolve.tracer.program import Program
from fxsolve.tracer.state import read_random_state


def build(
    program: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    options: Options,
    relatives: tuple[Member, ...] = (),
) -> tuple[Entry, Any]:
    """Run the program once, and compile it for calls like this one. Returns the entry and the program's result.

    Two `relatives`, recordings at other lengths, save recording this one where they tell what it looks like.
    Whatever keeps the program from being compiled, errors of the compiler included, is told in the report, and the
    original keeps running. What the program itself raises is raised.
    """
    clock = Clock()
    report = Report(program=name_of(program), status="left alone")
    if grown := _grow(relatives, program, args, kwargs, clock):
        entry = Compilation(program, args, kwargs, *grown, options, clock, report).entry()
        if entry.ready is not None or (entry.report.check is not None and within(entry.report.check)):
            return _timed(entry, clock), rebuild(grown[0].output, grown[0].example.outputs)
    captured = _capture(program, args, kwargs, clock)
    if isinstance(captured, str):
        # Outside of any except block: an error of the program then has no other error in its context.
        return Entry(replace(report, reason=captured, seconds=_seconds(clock))), program(*args, **kwargs)
    report = replace(report, calls=_count_calls(captured), draws=len(captured.draws), guards=len(captured.guards))
    result = rebuild(captured.output, captured.example.outputs)
    entry = Compilation(program, args, kwargs, captured, None, options, clock, report).entry()
    return _timed(entry, clock), result


def _capture(program: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], clock: Clock) -> Program | str:
    """The recorded program, or why there is none.

    An error that is no `CaptureError` is either raised by the program, which raises it again when it runs as written,
    or by the compiler.
    """
    # A cast that autocast kept from an earlier call would be recorded as a constant.
    torch.clear_autocast_cache()
    try:
        return clock.time("capture", capture, program, args, kwargs)
    except CaptureError as error:
        return str(error)
    except Exception as error:
        return internal_error("capture", error)


def _grow(
    relatives: tuple[Member, ...],
    program: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    clock: Clock,
) -> tuple[Program, Partition] | None:
    """The program and its equations from recordings at two other lengths, and one plain run of it at this one."""
    if len(relatives) != 2:
        return None
    tensors = tuple(leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))
    randomness, rewind = read_random_state(), rewinder(generators_of(relatives[0].program))
    try:
        grown = clock.time("run", grow, *relatives, lambda: program(*args, **kwargs), tensors)
    except PartitionError:
        randomness.restore()
        rewind()
        return None
    captured, system = grown
    note = "not recorded: two recordings at other lengths tell its equations; checked against one run of the program"
    return captured, Partition(system, (note,))


def _timed(entry: Entry, clock: Clock) -> Entry:
    return replace(entry, report=replace(entry.report, seconds=_seconds(clock)))


def _count_calls(program: Program) -> int:
    return sum(node.op == "call_function" for node in program.module.graph.nodes)


def _seconds(clock: Clock) -> tuple[tuple[str, float], ...]:
    return tuple(clock.seconds.items())
