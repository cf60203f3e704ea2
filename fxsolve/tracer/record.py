"""Record: one real run of the program becomes a graph of raw ATen calls."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch._C import _functorch  # pyright: ignore[reportAttributeAccessIssue]
from torch.utils import _pytree as pytree

from fxsolve.errors import CaptureError, SideEffectError
from fxsolve.tracer.bits import same_bits
from fxsolve.tracer.output import flatten_result
from fxsolve.tracer.pause import paused_collector
from fxsolve.tracer.program import Draw, Example, Guard, Output, Role
from fxsolve.tracer.reach import find_reach, name_tensors
from fxsolve.tracer.reads import ReadWatch
from fxsolve.tracer.recorder import Recorder
from fxsolve.tracer.state import RandomState, read_random_state, take_snapshot


@dataclass(frozen=True)
class Record:
    """The raw calls of one run; `mutates` says whether any of them writes into an argument.

    `rewind()` puts the random generators back to where they were before the run.
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


def record(program: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Record:
    """Run `program(*args, **kwargs)` once and write down its ATen calls.

    Raises:
        SideEffectError: the program changes a tensor or an attribute that outlives the call.
        CaptureError: the program does something else that cannot be written as equations.
        In both cases attributes and random generators are put back, so that the program can run again.
    """
    _refuse_nesting()
    reach = find_reach(program)
    snapshot, randomness = take_snapshot(reach), read_random_state()
    recorder = Recorder(name_tensors(reach))
    inputs = tuple(leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))
    rewind = functools.partial(_restore_randomness, recorder, randomness)
    try:
        for index, tensor in enumerate(inputs):
            recorder.add_input(tensor, index)
        result = _run(recorder, program, args, kwargs)
        if changes := snapshot.changes():
            raise SideEffectError(f"the program changes {changes[0]}, which outlives the call; return it instead.")
        _check_randomness(recorder, randomness)
        return _finish(recorder, inputs, result, rewind)
    except CaptureError:
        snapshot.restore()
        rewind()
        raise


def _refuse_nesting() -> None:
    if torch._C._len_torch_dispatch_stack() or _functorch.peek_interpreter_stack() is not None:
        raise CaptureError("another dispatch mode or function transform is active; capture the program outside of it.")


def _run(recorder: Recorder, program: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        with paused_collector(), recorder, ReadWatch(recorder):
            result = program(*args, **kwargs)
    except Exception:
        if recorder.error is not None:
            raise recorder.error from None
        raise
    if recorder.error is not None:
        raise recorder.error
    return result


def _restore_randomness(recorder: Recorder, randomness: RandomState) -> None:
    randomness.restore()
    for generator, state in recorder.generators.items():
        generator.set_state(state)


def _check_randomness(recorder: Recorder, before: RandomState) -> None:
    """Make all draws again from the state before the run: same bits, and the state after the run."""
    if not before.is_python_unchanged():
        raise CaptureError("the program draws random numbers from Python or NumPy; draw them with torch.")
    after = read_random_state()
    _restore_randomness(recorder, before)
    same = all(same_bits(draw.sample(), noise) for draw, noise in zip(recorder.draws, recorder.noise, strict=True))
    again = read_random_state()
    if not same or not torch.equal(again.cpu, after.cpu) or not all(map(torch.equal, again.cuda, after.cuda)):
        raise CaptureError("the program uses random numbers that fxsolve did not see being drawn.")


def _finish(recorder: Recorder, inputs: tuple[Tensor, ...], result: Any, rewind: Callable[[], None]) -> Record:
    output, tensors = flatten_result(result)
    with torch._C.DisableTorchFunction():
        nodes = [recorder.node_of(tensor) for tensor in tensors]
    recorder.graph.output((*nodes, *recorder.guard_nodes))
    return Record(
        recorder.graph,
        recorder.root,
        recorder.roles,
        tuple(recorder.draws),
        tuple(recorder.guards),
        output,
        Example(inputs, tuple(recorder.noise), tensors),
        recorder.mutations > 0,
        rewind,
    )
