"""Context variables that hold for a block."""

from contextvars import ContextVar
from typing import Generic, TypeVar

T = TypeVar("T")


class During(Generic[T]):
    """`variable` is `value` inside of the block, and what it was again behind it.

    No generator, since every call of a compiled program enters some: one takes four times as long.
    """

    def __init__(self, variable: ContextVar[T], value: T) -> None:
        self._variable = variable
        self._value = value

    def __enter__(self) -> None:
        self._token = self._variable.set(self._value)

    def __exit__(self, *_: object) -> None:
        self._variable.reset(self._token)
