"""Changes to the whole process that last while any thread needs them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Undo = Callable[[], object]


class Together:
    """A change that the first thread makes and the last one takes back.

    Threads that each kept what they found would put back one another's changes. `make` makes it and returns how to
    undo it.
    """

    def __init__(self, make: Callable[[], Undo]) -> None:
        self._make = make
        self._count = 0
        self._undo: Undo | None = None
        self._lock = threading.Lock()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """In the body the change is made."""
        with self._lock:
            if self._undo is None:
                self._undo = self._make()
            self._count += 1
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1
                if self._count == 0:
                    self._undo()
                    self._undo = None
