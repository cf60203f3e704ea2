"""Context variables that hold for a block."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def during(variable: ContextVar[T], value: T) -> Iterator[None]:
    """`variable` is `value` inside of the block, and what it was again behind it."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)
