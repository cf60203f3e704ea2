"""Capture: one real run of an unmodified PyTorch program becomes a `Program`."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import fx

from fxsolve.capture.communication import Line
from fxsolve.capture.effects.counters import CountsError
from fxsolve.capture.functional.functionalize import functionalize
from fxsolve.capture.functional.needed import find_needed
from fxsolve.capture.functional.phases import bring_forward
from fxsolve.capture.numbers.builtins import Places
from fxsolve.capture.numbers.watch import UnfollowedError
from fxsolve.capture.pause import paused_collector
from fxsolve.capture.program import Program
from fxsolve.capture.record.record import Record, record
from fxsolve.state.reach import find_reach
from fxsolve.state.snapshot import take_snapshot
from fxsolve.state.stores import NO_LIVE, Live
from fxsolve.torch_compat.graphs import LazyGraphModule
from fxsolve.torch_compat.trees import pytree

_MOST_PLACES = 8  # modules of the program in which numbers are read by builtins


def capture(
    program: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    live: Live = NO_LIVE,
    follows: bool = False,
) -> Program:
    """Run `program(*args, **kwargs)` once, for real, and return it as a functional ATen graph.

    With `follows`, numbers that it reads from tensors are followed through its Python code, where that can be done.
    `example.outputs` holds the very tensors that the program returned; check against them before the caller has them.

    Raises:
        SideEffectError: the program changes something that outlives the call and cannot be made again.
        CaptureError: the program cannot be recorded. In both cases it can still be run as if nothing had happened.
        HappenedError: the program has communicated with other processes; the error has what this run gave.
    """
    with paused_collector():
        recorded = _follow(program, args, kwargs, live) if follows else None
        recorded = recorded or _record(program, args, kwargs, live, Line())
        return _build(functionalize(recorded), name_of(program))


def _follow(program: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], live: Live) -> Record | None:
    """As `record` with numbers followed; None where that fails in any way, as it may without."""
    places: Places = ()
    for _ in range(_MOST_PLACES):
        try:
            return record(program, args, kwargs, live, Line(is_open=False), places)
        except UnfollowedError as error:
            places = (*places, error.place)
        except Exception:
            return None
    return None


def _record(
    program: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], live: Live, line: Line
) -> Record:
    """As `record`; once more if the program counts where it was not watched, which costs time where it does not.

    Raises SideEffectError if the second run counts otherwise, by a clock for example.
    """
    try:
        return record(program, args, kwargs, live, line)
    except CountsError as error:
        first = error
    counters = live.counters.union(place.identity for place, _ in first.left)
    found = record(program, args, kwargs, replace(live, counters=counters), line)
    try:
        first.check()
    except Exception:
        found.rewind()
        raise
    return found


def rehearse(program: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Program:
    """As `capture`; then attributes, tensors and random generators are put back to what they were before."""
    snapshot = take_snapshot(find_reach(program, tuple(pytree.tree_leaves((args, kwargs)))))
    recorded = _record(program, args, kwargs, NO_LIVE, Line(is_open=False))
    try:
        return _build(functionalize(recorded), name_of(program))
    finally:
        snapshot.restore()
        recorded.rewind()


def _build(record: Record, name: str) -> Program:
    if record.backward is not None:
        bring_forward(record.graph, record.backward)
    # Generating code for a long graph takes longer than recording it, and is only needed if the module is called.
    module: fx.GraphModule = LazyGraphModule(record.root, record.graph, name)
    return Program(
        module=module,
        roles=record.roles,
        draws=record.draws,
        guards=record.guards,
        output=record.output,
        example=record.example,
        grad=_wants_gradients(record),
        name=name,
        mutations=record.mutations,
        aliases=record.aliases,
        backward=record.backward,
        stream=record.stream,
        stores=record.stores,
        needed=find_needed(record.graph, record.roles, record.mutations) if record.backward is not None else (),
    )


def _wants_gradients(record: Record) -> bool:
    """Whether an output does that is no tensor which the program was given, nor a view of one."""
    numbered = enumerate(record.example.outputs)
    return any(tensor.requires_grad for number, tensor in numbered if number not in record.stores.handed)


def name_of(program: Callable[..., Any]) -> str:
    """The name under which a program is known."""
    return getattr(program, "__name__", None) or type(program).__name__
