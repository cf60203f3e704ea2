"""The clock by which two ways to compute the same are compared."""

import os
import time
from collections.abc import Callable
from typing import TypeVar

import torch

from fxsolve.economy.work import WorkCounter, counts_work

_Result = TypeVar("_Result")


def synchronize() -> None:
    """Wait until the accelerator, if there is one, has done what was asked of it."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def processor_seconds() -> float:
    """Seconds that all threads of this process have worked, and the processes that it has waited for."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def seconds_now() -> float:
    """Seconds that this thread has worked, to which other programs of the machine add nothing; or time, with a GPU.

    Threads that torch starts for one operation work side by side with this one, for as long. Where work is counted, no
    time passes.
    """
    if counts_work():
        return 0.0
    return time.perf_counter() if torch.accelerator.is_available() else time.thread_time()


def timed(function: Callable[[], _Result]) -> tuple[_Result, float]:
    """What a function returns, and the seconds that it takes, those of the device included."""
    if counts_work():
        with WorkCounter() as counter:
            result = function()
        return result, counter.seconds
    synchronize()
    start = seconds_now()
    result = function()
    synchronize()
    return result, seconds_now() - start
