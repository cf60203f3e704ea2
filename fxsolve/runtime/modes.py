"""Under which modes of torch, and of fxsolve, something runs."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

import torch

from fxsolve.torch_compat.dispatch import is_any_autocast_enabled

AUTOCAST_DEVICES = ("cpu", "cuda", "mps", "xpu")

_as_written: ContextVar[bool] = ContextVar("fxsolve_as_written", default=False)


@contextmanager
def as_written() -> Iterator[None]:
    """In the body, compiled objects run their originals: a program that calls one is timed as it was written."""
    token = _as_written.set(True)
    try:
        yield
    finally:
        _as_written.reset(token)


def runs_as_written() -> bool:
    """Whether `as_written` is in force here."""
    return _as_written.get()


def plain_torch() -> AbstractContextManager[None]:
    """No gradients and no autocast: what was recorded holds the casts that autocast made."""
    return _plain_torch() if is_any_autocast_enabled() else torch.no_grad()  # entered at every call


@contextmanager
def _plain_torch() -> Iterator[None]:
    with torch.no_grad(), plain_autograd():
        yield


@contextmanager
def plain_autograd() -> Iterator[None]:
    """No autocast, as autograd runs a backward pass."""
    enabled = is_any_autocast_enabled()
    devices = [device for device in AUTOCAST_DEVICES if enabled and torch.is_autocast_enabled(device)]
    for device in devices:
        torch.set_autocast_enabled(device, False)
    try:
        yield
    finally:
        for device in devices:
            torch.set_autocast_enabled(device, True)
