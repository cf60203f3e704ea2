"""What recording changes in the whole process is as before when the last thread is done."""

import gc
import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch._dynamo import eval_frame

from fxsolve.capture.pause import paused_collector
from fxsolve.capture.record.as_written import as_written
from fxsolve.capture.record.fast_paths import fast_paths
from fxsolve.capture.together import Together
from fxsolve.lower import batch

CHANGES = {
    "collector": (paused_collector, gc.isenabled),
    "compiler": (as_written, lambda: eval_frame._stance),
    "layers": (fast_paths, lambda: torch.overrides.has_torch_function),
    "log": (batch._without_log, lambda: list(logging.getLogger("torch._subclasses.fake_tensor").filters)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_threads_that_overlap_leave_everything_as_it_was(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "active_count", lambda: 1)  # libraries may have started threads of their own
    change: Callable[[], AbstractContextManager[None]]
    change, state = CHANGES[name]
    before, inside = state(), threading.Event()
    done = threading.Event()

    def overlap() -> None:
        with change():
            inside.set()
            done.wait(5)

    thread = threading.Thread(target=overlap)
    with change():
        thread.start()
        inside.wait(5)
        changed = state()
    assert state() == changed != before
    done.set()
    thread.join()
    assert state() == before


def test_a_change_is_in_effect_in_the_threads_that_need_it_alone() -> None:
    seen: list[bool] = []
    change = Together(lambda is_here: lambda: seen.append(is_here()))
    with change(), change():
        run_in_thread(lambda: seen.append(change.is_here()))
        assert change.is_here()
    assert seen == [False, False]  # of the other thread, and of the undoing, behind the body


def test_the_log_of_another_thread_is_shown() -> None:
    log, shown = logging.getLogger("torch._subclasses.fake_tensor"), []
    handler = logging.Handler()
    handler.emit = lambda record: shown.append(record.getMessage())
    log.addHandler(handler)
    try:
        with batch._without_log():
            log.error("here")
            run_in_thread(lambda: log.error("there"))
        log.error("afterwards")
    finally:
        log.removeHandler(handler)
    assert shown == ["there", "afterwards"]


def test_layers_in_another_thread_are_told_of_its_modes() -> None:
    class Mode(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return func(*args, **(kwargs or {}))

    def ask() -> None:
        with Mode():
            found.append(torch.overrides.has_torch_function((torch.ones(1),)))

    found: list[bool] = []
    with fast_paths():
        run_in_thread(ask)
    assert found == [True]


def test_the_collector_runs_on_while_there_is_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    for count in (1, 2):
        monkeypatch.setattr(threading, "active_count", lambda: count)  # noqa: B023
        with paused_collector():
            assert gc.isenabled() == (count > 1)
        assert gc.isenabled()


def run_in_thread(work: Callable[[], Any]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
