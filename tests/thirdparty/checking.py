"""Compare a program of another library with its compiled forms, and keep what was found as a text file."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

import fxsolve
from fxsolve.ir.text import pattern_text
from fxsolve.report.report import Report
from tests.goldens import check_golden, without_paths
from tests.ops.opaque import check_known

_AUTO_TOLERANCE = 1e-5  # of the largest entry; solves in single precision stop at 1e-6
_HONEST = "sequential is best here"


@dataclass(frozen=True)
class Case:
    """A program and two inputs of one kind, which it must give the same answers on as it does alone."""

    program: Callable[..., Any]
    inputs: tuple[Any, ...]
    others: tuple[Any, ...]


def check_rolled(name: str, case: Case, lengths: list[int], guards: int = 0) -> None:
    """Run in order, the compiled program gives the same bits, and one recording serves both inputs."""
    report, schedule = _run(case, "gs", exact=True)
    assert report.status == "emitted", report.reason
    assert schedule != "original"
    assert ([loop.length for loop in report.loops], report.guards) == (lengths, guards), _found(report)
    assert not any("recorded again" in note for note in report.notes), report.notes
    assert report.runs
    automatic, _ = _run(case, "auto", exact=False)
    assert automatic.status == "emitted" or re.search(_HONEST, automatic.reason or ""), automatic.reason
    # Products over what is joined may leave a loop, as a loop of their own.
    assert {loop.length for loop in automatic.loops} == set(lengths), _found(automatic)
    check_golden(name, _describe(case, report))


def _found(report: Report) -> str:
    return f"found loops of {[loop.length for loop in report.loops]} steps, and {report.guards} guards"


def check_left_alone(name: str, case: Case, reason: str) -> None:
    """The original runs, for the reason that is told."""
    report, schedule = _run(case, "gs", exact=True)
    assert schedule == "original"
    assert re.search(reason, report.reason or ""), report.reason
    check_golden(name, f"left alone: {without_paths(report.reason or '')}\n")


def check_equal(case: Case) -> None:
    """Whatever was found, the values are right: what the program reads decides at each call which way it goes."""
    for schedule in ("gs", "auto"):
        report, _ = _run(case, schedule, exact=schedule == "gs")
        assert report.guards, report.reason


def _run(case: Case, schedule: str, exact: bool) -> tuple[Report, str]:
    with torch.no_grad():
        fast = fxsolve.compile(case.program, schedule=schedule, backend="eager")
        for inputs in (case.inputs, case.others, case.inputs):
            torch.manual_seed(1)
            expected = case.program(*inputs)
            torch.manual_seed(1)
            found = fast(*inputs)
            _assert_same(found, expected, exact)
    return fast.report(), str(fast.schedule)


def _assert_same(found: Any, expected: Any, exact: bool) -> None:
    ours, theirs = pytree.tree_leaves(found), pytree.tree_leaves(expected)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        if not isinstance(b, Tensor):
            assert a == b
            continue
        scale = 0.0 if exact or not b.is_floating_point() else float(b.abs().max())
        torch.testing.assert_close(a, b, rtol=0, atol=_AUTO_TOLERANCE * scale, equal_nan=True)


def _describe(case: Case, report: Report) -> str:
    """What was recorded and found: nothing that is measured, and no file names or line numbers."""
    with torch.no_grad():
        program = fxsolve.capture(case.program, *case.inputs)
    check_known(program)
    system = fxsolve.partition(program).system
    notes = [f"note: {without_paths(note)}" for note in report.notes]
    head = f"recorded: {report.calls} ops, {report.draws} draws, {report.guards} guards"
    return "\n".join([head, pattern_text(system), *notes, ""])


def two_inputs(*shapes: tuple[int, ...], draw: Callable[..., Tensor] = torch.randn) -> tuple[tuple[Tensor, ...], ...]:
    """Two tuples of tensors, drawn one after the other."""
    first = tuple(draw(*shape) for shape in shapes)
    return first, tuple(draw(*shape) for shape in shapes)


def library(name: str) -> Any:
    """Another library; the test is skipped where it is not installed, or does not work with this PyTorch."""
    return pytest.importorskip(name, exc_type=(ImportError, RuntimeError))
