"""Record: one real run of the program becomes a graph of raw ATen calls."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from io import IOBase
from typing import Any

from torch import Tensor, fx

from fxsolve.capture.communication import HappenedError, Line, Outcome, refuse_communication
from fxsolve.capture.effects.externals import find_aliases
from fxsolve.capture.numbers.builtins import Places
from fxsolve.capture.numbers.watch import NumberWatch
from fxsolve.capture.pause import paused_collector
from fxsolve.capture.program import Alias, Backward, Draw, Example, Guard, Mutation, Output, Role
from fxsolve.capture.record.arguments import unchanged
from fxsolve.capture.record.as_written import as_written
from fxsolve.capture.record.backward import Pass, record_backward
from fxsolve.capture.record.changes import Changes, find_changes
from fxsolve.capture.record.dispatch import Dispatcher
from fxsolve.capture.record.doors import watched_doors
from fxsolve.capture.record.fast_paths import fast_paths
from fxsolve.capture.record.feeds import feed
from fxsolve.capture.record.output import flatten_result
from fxsolve.capture.record.read_watch import ReadWatch
from fxsolve.capture.record.recorder import Recorder
from fxsolve.capture.record.redraw import check_randomness
from fxsolve.capture.record.watched import watched
from fxsolve.capture.stream import Stream
from fxsolve.errors import CaptureError
from fxsolve.state.generators import find_generators, put_back
from fxsolve.state.held import NOTHING_HELD, Held
from fxsolve.state.memory import copy_of
from fxsolve.state.random_state import RandomState, read_random_state
from fxsolve.state.reach import Reach, find_reach, globals_of, name_tensors
from fxsolve.state.snapshot import take_snapshot
from fxsolve.state.stores import NO_STORES, Live, Stores
from fxsolve.torch_compat.dispatch import WithoutTorchFunction, count_dispatch_modes, current_transform
from fxsolve.torch_compat.trees import pytree


@dataclass(frozen=True)
class Record:
    """The raw calls of one run; `mutates` says whether any of them writes into an argument.

    `rewind()` puts the random generators, and the tensors and attributes that outlive the run, back to what they were.
    """

    graph: fx.Graph
    root: dict[str, Tensor]
    roles: dict[str, Role]
    draws: tuple[Draw, ...]
    guards: tuple[Guard, ...]
    output: Output
    example: Example
    mutates: bool
    rewind: Callable[[], None]
    mutations: tuple[Mutation, ...]
    aliases: tuple[Alias, ...]
    backward: Backward | None
    stream: Stream
    stores: Stores


def record(
    program: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    live: Live,
    line: Line,
    places: Places | None = None,
) -> Record:
    """Run `program(*args, **kwargs)` once and write down its ATen calls, also of its backward pass in grad mode.

    The tensors of `live`, and those in other places that the run rebinds, become inputs behind those of the call. The
    program may communicate with other processes if the `line` is open. Where there are `places`, numbers that it reads
    are followed through its Python code.

    Raises:
        HappenedError: the program has done so; what it left behind stays.
        SideEffectError: the program changes something that outlives the call and cannot be made again.
        CaptureError: the program does something else that cannot be written as equations.
        After the other two, and what the program itself raises, attributes, tensors and generators are as before.
    """
    _refuse_nesting()
    leaves = pytree.tree_leaves((args, kwargs))
    inputs = tuple(leaf for leaf in leaves if isinstance(leaf, Tensor))
    others = tuple(leaf for leaf in leaves if not isinstance(leaf, Tensor))
    reach = find_reach(program, others)
    _refuse_iterators(reach)
    refuse_communication(reach)
    snapshot, randomness = take_snapshot(reach), read_random_state()
    recorder = Dispatcher(name_tensors(reach), find_generators(reach, others), line)
    rewind = functools.partial(_rewind, recorder, randomness)
    state = tuple((read, read.value()) for read in live.reads)
    try:
        with watched(reach, snapshot, live.counters, line) as counters:
            for index, tensor in enumerate(inputs):
                recorder.add_input(tensor, index)
            bound = (one.args for one in reach.others if isinstance(one, functools.partial))
            with unchanged((*args, *bound), kwargs, line):
                result = _run(recorder, program, args, kwargs, places)
            if line.used:
                raise HappenedError(line.used, Outcome(result))
            output, returned = flatten_result(result)
            counters.check()
            changes = find_changes(recorder, snapshot, returned, state, live.places, counters.changed())
            outputs = (*returned, *changes.stored)
            recorder.externals.check()
            backward = record_backward(recorder, outputs, changes.stores.handed, reach)
            counters.check()
        check_randomness(recorder, randomness)
        # A program that draws nothing leaves the generators to other threads.
        drawn = randomness if recorder.draws else None
        back = functools.partial(_rewind, recorder, drawn, changes.before)
        return _with_state(_finish(recorder, inputs, output, outputs, backward, back), changes)
    except HappenedError:
        raise
    except Exception as error:
        if line.used:
            raise HappenedError(line.used, Outcome(error=error)) from error
        snapshot.restore()
        rewind()
        raise


def _refuse_nesting() -> None:
    if count_dispatch_modes() or current_transform() is not None:
        raise CaptureError("another dispatch mode or function transform is active; capture the program outside of it.")


def _refuse_iterators(reach: Reach) -> None:
    parts = [part for module in reach.modules.values() for part in module.modules()]
    held = (value for part in parts for value in (*vars(part).values(), *globals_of(type(part).forward)))
    for one in (*reach.others, *held):
        if isinstance(one, Iterator) and not isinstance(one, IOBase):
            raise CaptureError(
                f"the program reaches a {type(one).__name__}, which gives something else each time; pass what it gives."
            )


def _run(
    recorder: Recorder,
    program: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    places: Places | None,
) -> Any:
    watch = NumberWatch(recorder.refuse, places) if places is not None else None
    try:
        with paused_collector(), as_written(), fast_paths(), watched_doors(), recorder, ReadWatch(recorder):
            result = program(*args, **kwargs) if watch is None else watch.run(lambda: program(*args, **kwargs))
    except Exception:
        if recorder.error is not None and not recorder.line.used:
            raise recorder.error from None
        raise
    if recorder.error is not None and not recorder.line.used:
        raise recorder.error
    if watch is not None:
        watch.check()
    return result


def _rewind(recorder: Recorder, randomness: RandomState | None, before: Held = NOTHING_HELD) -> None:
    before.put_back()
    recorder.externals.undo()
    if randomness is not None:
        put_back(randomness, recorder.generators.values())


def _finish(
    recorder: Recorder,
    inputs: tuple[Tensor, ...],
    output: Output,
    tensors: tuple[Tensor, ...],
    backward: Pass | None,
    rewind: Callable[[], None],
) -> Record:
    gradients = backward.found if backward else ()
    with WithoutTorchFunction():
        nodes = [recorder.node_of(tensor) for tensor in tensors]
        gradient_nodes = [recorder.node_of(tensor) for tensor in gradients]
    recorder.externals.check()
    written = recorder.externals.written
    # At the end of the record these nodes stand for what was written into them last.
    recorder.graph.output((*nodes, *(one.external.node for one in written), *gradient_nodes, *recorder.guard_nodes))
    return Record(
        recorder.graph,
        recorder.root,
        recorder.roles,
        tuple(recorder.draws),
        tuple(recorder.guards),
        output,
        _example(recorder, inputs, tensors, backward),
        recorder.mutations > 0,
        rewind,
        tuple(one.mutation(len(tensors) + k) for k, one in enumerate(written)),
        find_aliases(tensors, written),
        backward.numbered(len(tensors) + len(written)) if backward else None,
        recorder.listener.stream(),
        NO_STORES,
    )


def _with_state(record: Record, changes: Changes) -> Record:
    """The record with what it reads from rebound places as inputs."""
    fed = feed(record.graph, record.root, record.roles, record.example, record.mutations, changes, record.backward)
    return replace(
        record, root=fed.root, roles=fed.roles, example=fed.example, mutations=fed.mutations, stores=fed.stores
    )


def _example(
    recorder: Recorder, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], backward: Pass | None
) -> Example:
    written, before = recorder.externals.written, recorder.externals.before()
    places = {id(one.tensor): one.place for one in recorder.externals.all()}
    return Example(
        tuple(before.get(id(tensor), tensor) for tensor in inputs),
        tuple(recorder.noise),
        (*outputs, *(copy_of(one.external.tensor) for one in written), *(backward.found if backward else ())),
        {place: value for number, value in before.items() if isinstance(place := places.get(number), str)},
        backward.cotangents if backward else (),
    )
