"""A pytest plugin that sends calls of modules through `fxsolve.compile`, for test suites of other projects.

`--through=gs` and `--through=auto` name the schedule; `--through=plain` sends nothing. `--through-also=a.b.f,a.C.g`
does the same to calls of the function `a.b.f` and of the method `a.C.g`. Calls inside of such a call are part of it.
Every test starts from the same random state, and `--through-results=FILE` keeps as JSON which tests passed, what was
warned of, and what became of the calls.
"""

import functools
import json
import pkgutil
import random
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import fx, nn
from torch._dynamo import OptimizedModule  # what torch.compile makes of a module; it has no public name

import fxsolve
from fxsolve.runtime.compiled import Compiled

_MODULE_CALL = nn.Module.__call__
_AS_THEY_ARE = (
    OptimizedModule,  # recording it would show the program without torch.compile, whose graphs the test may ask for
    fx.GraphModule,  # that which fxsolve emits for backward passes, which run where no call is
)
_MOST_REASONS = 20
_UNSEEN = "the original ran, as it does under transforms and modes of torch"


class Through:
    """The compiled form of every program that a file of tests calls, and what became of the calls."""

    def __init__(self, schedule: str) -> None:
        self.schedule = schedule
        self.counts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self._compiled: dict[Any, Compiled] = {}
        self._thread = threading.local()

    def wrap(self, function: Callable[..., Any], is_method: bool) -> Callable[..., Any]:
        """The same function; its calls go through fxsolve, but for those inside of another such call."""

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            # First of all: torch.compile follows this line, and must not follow the others.
            if torch.compiler.is_compiling() or getattr(self._thread, "inside", False):
                return function(*args, **kwargs)
            owner = args[0] if is_method else None
            if isinstance(owner, _AS_THEY_ARE):
                return function(*args, **kwargs)
            self._thread.inside = True
            try:
                return self._call(self._find(function, owner), args[is_method:], kwargs)
            finally:
                self._thread.inside = False

        return call

    def forget(self) -> None:
        """Let the programs go."""
        self._compiled.clear()

    def _find(self, function: Callable[..., Any], owner: Any) -> Compiled:
        key = (function, id(owner))
        if key not in self._compiled:
            bound = function if owner is None else function.__get__(owner)
            program = owner if function is _MODULE_CALL else bound
            self._compiled[key] = fxsolve.compile(program, schedule=self.schedule, backend="eager")
        return self._compiled[key]

    def _call(self, compiled: Compiled, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        runtime, randomness = compiled._runtime, torch.get_rng_state()
        before, answered = runtime.latest, _answered(compiled)
        result = compiled(*args, **kwargs)
        self.counts["calls"] += 1
        if _answered(compiled) > answered:
            self.counts["emitted"] += 1
            return result
        latest = runtime.latest
        if latest is None or latest.entry.ready is None or latest is before:
            self.counts["left alone"] += 1
            reason = latest.report.reason if latest is not None else None
            self.reasons[_without_numbers(reason or _UNSEEN)] += 1
            return result
        self.counts["emitted"] += 1
        effects = latest.entry.ready.effects
        if effects.mutations or effects.stores.writes:
            return result
        # The call was recorded, and returned what the program did: the test is to see what the emitted module returns.
        torch.set_rng_state(randomness)
        result = compiled(*args, **kwargs)
        self.counts["called again"] += 1
        self.counts["answered by an emitted module"] += _answered(compiled) > answered
        return result


def _answered(compiled: Compiled) -> int:
    return sum(entry.calls for entry in compiled.entries if entry.status == "emitted")


def _without_numbers(reason: str) -> str:
    """The first line, without what differs from call to call."""
    return "".join("#" if c.isdigit() else c for c in reason.partition("\n")[0])


class Results:
    """What became of the tests of a run, kept in a file at its end."""

    def __init__(self, through: Through | None, path: Path) -> None:
        self.through, self.path = through, path
        self.outcomes: dict[str, list[str]] = {}
        self.warnings: Counter[str] = Counter()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)

    @pytest.hookimpl
    def pytest_runtest_teardown(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        # What fixtures of a whole file give is called again by its next test.
        if self.through is not None and (nextitem is None or nextitem.path != item.path):
            self.through.forget()

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or report.outcome != "passed":
            context = getattr(report, "context", None)  # of a subtest
            name = f"{report.nodeid} {context.msg} {context.kwargs}" if context is not None else report.nodeid
            self.outcomes.setdefault(name, []).append(report.outcome)

    @pytest.hookimpl
    def pytest_warning_recorded(self, warning_message: Any, nodeid: str) -> None:
        self.warnings[f"{nodeid} {warning_message.category.__name__}: {warning_message.message}"] += 1

    @pytest.hookimpl
    def pytest_sessionfinish(self) -> None:
        found: dict[str, Any] = {"outcomes": self.outcomes, "warnings": self.warnings}
        if self.through is not None:
            found["counts"] = self.through.counts
            found["reasons"] = dict(self.through.reasons.most_common(_MOST_REASONS))
        self.path.write_text(json.dumps(found, indent=1))

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.through is None:
            return
        terminalreporter.section(f"through fxsolve, schedule {self.through.schedule}")
        for name, count in (*self.through.counts.items(), *self.through.reasons.most_common(_MOST_REASONS)):
            terminalreporter.write_line(f"{count:8} {name}")


def pytest_addoption(parser: Any) -> None:
    parser.addoption("--through", choices=("plain", "gs", "auto"), required=True)
    parser.addoption("--through-also", default="")
    parser.addoption("--through-results", type=Path, required=True)


def pytest_configure(config: Any) -> None:
    schedule = config.getoption("--through")
    through = None if schedule == "plain" else Through(schedule)
    if through is not None:
        nn.Module.__call__ = through.wrap(_MODULE_CALL, is_method=True)
        for name in filter(None, config.getoption("--through-also").split(",")):
            _send(name, through)
    config.pluginmanager.register(Results(through, config.getoption("--through-results")))


def _send(name: str, through: Through) -> None:
    """Put the wrapped function or method in the place of the one with this dotted name."""
    path, _, last = name.rpartition(".")
    owner = pkgutil.resolve_name(path)
    setattr(owner, last, through.wrap(getattr(owner, last), isinstance(owner, type)))
