"""Pausing Python's garbage collector while a graph is built."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_collector() -> Iterator[None]:
    """Run the body without cyclic garbage collection.

    A growing graph holds only live objects, which every collection walks again: half of the time of recording.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
