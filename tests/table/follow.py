"""A compiled program beside its original: call by call the same, and what was found on the way."""

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

import fxsolve
from fxsolve.capture.program import Program
from fxsolve.errors import CaptureError
from fxsolve.ir.spec import Lag, Read, Repeat
from fxsolve.loops.partition import Partition
from fxsolve.report.reads import kind_of
from fxsolve.stages import capture, partition
from tests.table.observe import assert_same, sharing
from tests.table.row import Row


def found(row: Row) -> tuple[Program, Partition] | CaptureError:
    """The program and the equations of the first call, or why it could not be captured."""
    with row.mode():
        program = captured(row)
        return program if isinstance(program, CaptureError) else (program, partition(program))


def captured(row: Row) -> Program | CaptureError:
    """The program of the first call, recorded in the mode that is set, or why it could not be."""
    args = _given(row, row.calls[0])
    torch.manual_seed(1)
    try:
        return capture(row.build(), *args, **row.kwargs(row.calls[0]))
    except CaptureError as error:
        return error


def describe(repeat: Repeat) -> str:
    """The trip count, and each kind of read once; `7: invariant, lag 2, slices`."""
    return f"{repeat.length}: {', '.join(sorted({_kind(read) for read in repeat.reads}))}"


def _kind(read: Read) -> str:
    return f"lag {read.distance}" if isinstance(read, Lag) else kind_of(read)


def follow(row: Row) -> Any:
    """Call the compiled program and the original in turn, and compare everything; returns the compiled one."""
    ours, theirs = row.build(), row.build()
    fast: Any = fxsolve.compile(ours, schedule=row.schedule, backend="eager", **row.options)
    last: tuple[Any, Any] = (None, None)
    for number, k in enumerate(row.calls):
        if number:
            fast, theirs = row.between(fast) or fast, row.between(theirs) or theirs
        sides = []
        for program, model, result in ((theirs, theirs, last[1]), (fast, _model(fast, ours), last[0])):
            args = _given(row, k)
            sides.append(
                _observed(row, program, model, args if result is None else row.feed(result, args), row.kwargs(k))
            )
        (expected, _, _), (found, _, _) = sides
        assert_same(sides[1], sides[0], row.tolerance)
        assert sharing(found, sides[1][1:]) == sharing(expected, sides[0][1:])
        last = (found, expected)
    return fast


def _model(fast: Any, ours: Any) -> Any:
    return fast.program if isinstance(fast, fxsolve.Compiled) else ours


def _given(row: Row, k: int) -> tuple[Any, ...]:
    args = row.inputs(k)
    if row.grad:
        for arg in args:
            if isinstance(arg, Tensor) and arg.is_floating_point():
                arg.requires_grad_()
    return args


def _observed(
    row: Row, program: Any, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, Any, Any]:
    """The result; the arguments and the program after the call; the random generator after it."""
    torch.manual_seed(1)
    with row.mode():
        result = program(*args, **kwargs)
        if row.grad:
            _backward(result)
    return result, (args, model), torch.get_rng_state()


def _backward(result: Any) -> None:
    outputs = [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, Tensor)]
    outputs = [leaf for leaf in outputs if leaf.requires_grad]
    generator = torch.Generator().manual_seed(3)
    torch.autograd.backward(outputs, [torch.randn(y.shape, dtype=y.dtype, generator=generator) for y in outputs])
