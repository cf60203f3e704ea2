"""What is known of one program of the zoo."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Member:
    """A program and its inputs; `trains` if its backward pass is part of a call.

    What is not `sequential` is a negative control: there is nothing to gain, and nothing must be lost.
    """

    program: Callable[..., Any]
    inputs: tuple[Any, ...]
    trains: bool = False
    sequential: bool = True


Factory = Callable[[], Member]
