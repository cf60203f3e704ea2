"""What recording changes in the whole process is as before when the last thread is done."""

import gc
import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from torch._C import _functorch  # pyright: ignore[reportAttributeAccessIssue]
from torch._higher_order_ops import utils

from fxsolve.partitioner.lowering import batch
from fxsolve.tracer.fast_paths import fast_paths
from fxsolve.tracer.higher_order import called_directly
from fxsolve.tracer.pause import paused_collector

CHANGES = {
    "collector": (paused_collector, gc.isenabled),
    "operators": (called_directly, lambda: utils._hop_compile_and_call),
    "layers": (fast_paths, lambda: torch.overrides.has_torch_function),
    "log": (batch._without_log, lambda: logging.getLogger("torch._subclasses.fake_tensor").disabled),
    "fallback": (batch._no_vmap_fallback, _functorch._is_vmap_fallback_enabled),
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
