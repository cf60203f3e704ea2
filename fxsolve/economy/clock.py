"""The clock by which two ways to compute the same are compared."""

import os
import time

import torch


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

    Threads that torch starts for one operation work side by side with this one, for as long.
    """
    return time.perf_counter() if torch.accelerator.is_available() else time.thread_time()
