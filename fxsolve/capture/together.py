"""Changes to the whole process that last while any thread needs them, and that the other threads do not notice."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Undo = Callable[[], object]


class Together:
    """A change that the first thread makes and the last one takes back.

    Threads that each kept what they found would put back one another's changes. `make(is_here)` makes it and returns
    how to undo it. What it puts in place asks `is_here()` whether the thread that comes by is one of those that need
    the change, and does for the others what was there before.
    """

    def __init__(self, make: Callable[[Callable[[], bool]], Undo]) -> None:
        self._make = make
        self._count = 0
        self._undo: Undo | None = None
        self._lock = threading.Lock()
        self._local = threading.local()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """In the body the change is made."""
        with self._lock:
            if self._undo is None:
                self._undo = self._make(self.is_here)
            self._count += 1
        depth = self._depth()
        self._local.depth = depth + 1
        try:
            yield
        finally:
            self._local.depth = depth
            with self._lock:
                self._count -= 1
                if self._count == 0:
                    self._undo()
                    self._undo = None

    def is_here(self) -> bool:
        """Whether the current thread is in a body."""
        return self._depth() > 0

    def _depth(self) -> int:
        return getattr(self._local, "depth", 0)
