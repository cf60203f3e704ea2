"""torch.compile as a form of a program, for as long as it may take."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch

from fxsolve.errors import InputError

_AGAIN = 10.0  # seconds: what is raised while an object is finalized goes no further


class TookTooLong(BaseException):
    """No `Exception`: compilers catch those, and go on."""


@contextmanager
def within_seconds(seconds: float) -> Iterator[None]:
    """Raise `TookTooLong` in the block once it has taken so long.

    Raises `InputError` outside of the main thread, where no signal arrives.
    """
    if threading.current_thread() is not threading.main_thread():
        raise InputError("a limit of time can be set in the main thread alone")

    def stop(number: int, frame: FrameType | None) -> None:
        raise TookTooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def by_torch(program: Callable[..., Any]) -> Callable[..., Any]:
    """What torch.compile makes of the program, with nothing of earlier compilations in it.

    The compiler is loaded by compiling something small first: an import that a limit of time ends leaves half a module.
    """
    torch.compiler.reset()
    torch.compile(torch.neg)(torch.ones(1))
    return torch.compile(program)
