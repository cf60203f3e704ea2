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
    "collector": (paused_collector, gc.get_threshold),
    "compiler": (as_written, lambda: eval_frame._stance),
    "layers": (fast_paths, lambda: torch.overrides.has_torch_function),
    "log": (batch._without_log, lambda: list(logging.getLogger("torch._subclasses.fake_tensor").filters)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_threads_that_overlap_leave_everything_as_it_was(name: str) -> None:
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


def test_old_objects_are_not_walked_while_a_graph_grows_and_young_ones_of_all_threads_are_collected() -> None:
    def full() -> int:
        return gc.get_stats()[2]["collections"]

    def drop_cycles() -> None:
        for _ in range(60_000):
            cycle: list[Any] = []
            cycle.append(cycle)

    with paused_collector():
        before, young = full(), gc.get_stats()[0]["collections"]
        run_in_thread(drop_cycles)
        assert gc.get_stats()[0]["collections"] > young
        assert full() == before


def test_what_the_program_asks_of_the_collector_stays() -> None:
    before = gc.get_threshold()
    try:
        with paused_collector():
            gc.set_threshold(123, 4, 5)
        assert gc.get_threshold() == (123, 4, 5)
    finally:
        gc.set_threshold(*before)


def run_in_thread(work: Callable[[], Any]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
