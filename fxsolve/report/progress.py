"""A sign of life during long work."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

PATIENCE = 2.0


@contextmanager
def progress(text: str) -> Iterator[None]:
    """Say on a terminal's standard error what is going on, from two seconds on."""
    status = Console(stderr=True).status(Text(f"fxsolve: {text}"))
    timer = threading.Timer(PATIENCE, status.start)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # a start that is under way must not come after the stop
        status.stop()
