"""All forms of a program timed in turn, and what their results are worth."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fxsolve.bench.data import Benchmark, Contender, LeftOut
from fxsolve.bench.forms import TimedForm, call, forms_of
from fxsolve.bench.steps import Agreement, agreement, worst
from fxsolve.factory import Subject
from fxsolve.report.progress import progress
from fxsolve.report.race import Timing, in_turn
from fxsolve.solvers.certificate import Certificate
from fxsolve.solvers.requests import certificates
from fxsolve.state.generators import rewinder_of
from fxsolve.state.reach import find_reach
from fxsolve.state.snapshot import take_snapshot
from fxsolve.torch_compat.trees import pytree


@dataclass(frozen=True)
class BenchSettings:
    """How forms are made and timed: `seconds` is the longest that the first calls of torch.compile may take."""

    calls: int = 7
    threads: int = 1
    seconds: float = 60.0
    backend: str = "inductor"


DEFAULT = BenchSettings()


def bench(program: Callable[..., Any], *args: Any, **kwargs: Any) -> Benchmark:
    """Time `program(*args, **kwargs)` in every form that there is of it; in grad mode, with its backward pass."""
    return bench_subject(Subject(program, args, kwargs))


def bench_subject(subject: Subject, settings: BenchSettings = DEFAULT) -> Benchmark:
    """All forms of the program that give its results, the fastest first.

    One whose results differ by more than rounding and its stop tests allow takes no part. Medians are of calls in turn,
    so that what else the machine does meets all alike. The program and the generators of random numbers are left as
    they were.
    """
    with as_found(subject), _threads(settings.threads):
        made = list(forms_of(subject, settings.backend, settings.seconds))
        forms = [one for one in made if isinstance(one, TimedForm)]
        with progress(f"timing {len(forms)} forms of {subject.name} in turn"):
            timings = _timed(forms, subject, settings.calls)
            proved = [_certificates(form, subject) for form in forms]
    judged = [_judged(*one) for one in zip(forms, timings, proved, strict=True)]
    contenders = sorted((one for one in judged if isinstance(one, Contender)), key=lambda one: one.median)
    return Benchmark(
        program=subject.name,
        inputs=_inputs_text(subject),
        device=next((str(one.device) for one in _tensors(subject)), "cpu"),
        threads=settings.threads,
        with_gradients=torch.is_grad_enabled(),
        contenders=tuple(contenders),
        left_out=tuple(one for one in (*made, *judged) if isinstance(one, LeftOut)),
    )


def _timed(forms: Sequence[TimedForm], subject: Subject, calls: int) -> tuple[Timing[Agreement], ...]:
    for form in forms:
        call(form.program, subject)
    stop = max(form.report.stop if form.report else 0.0 for form in forms)
    judge = partial(agreement, stop=stop, with_gradients=torch.is_grad_enabled())
    return in_turn([form.program for form in forms], subject.inputs, calls, judge, subject.state())


def _certificates(form: TimedForm, subject: Subject) -> tuple[Certificate, ...]:
    if form.report is None:
        return ()
    with certificates() as found:
        call(form.program, subject)
    return tuple(found)


def _judged(form: TimedForm, timing: Timing[Agreement], proved: Sequence[Certificate]) -> Contender | LeftOut:
    found = worst(timing.checks)
    if found.fault:
        return LeftOut(form.name, found.fault)
    bounds = [one.bound for one in proved if one.bound is not None]
    return Contender(
        name=form.name,
        schedule=form.schedule,
        seconds=timing.seconds,
        first_seconds=form.first_seconds,
        check=found.results,
        gradient_check=found.gradients,
        residual=max((one.residual for one in proved), default=None),
        bound=max(bounds, default=None),
    )


@contextmanager
def as_found(subject: Subject) -> Iterator[None]:
    """Put back, at the end, what the program keeps, and the generators that it draws from."""
    leaves = pytree.tree_leaves((subject.args, dict(subject.kwargs)))
    others = tuple(leaf for leaf in leaves if not isinstance(leaf, Tensor))
    rewind, kept = rewinder_of(subject.model, leaves), take_snapshot(find_reach(subject.model, others))
    values = [(tensor, tensor.detach().clone()) for tensor in subject.state()]
    try:
        yield
    finally:
        kept.restore()
        for tensor, value in values:
            tensor.data.copy_(value)
        rewind()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _tensors(subject: Subject) -> list[Tensor]:
    leaves = pytree.tree_leaves((subject.args, dict(subject.kwargs)))
    return [*(one for one in leaves if isinstance(one, Tensor)), *subject.state()]


def _inputs_text(subject: Subject) -> str:
    """float32[16, 8], 3."""
    leaves = pytree.tree_leaves((subject.args, dict(subject.kwargs)))
    return ", ".join(
        f"{str(one.dtype).removeprefix('torch.')}{list(one.shape)}" if isinstance(one, Tensor) else repr(one)
        for one in leaves
    )
