"""Communication with other processes: which operators do it, and how a recording treats it.

What communicates must happen once at each call, in step with the other processes: a second run of it waits for partners
that do not come, or adds up something else.
"""

import sys
from dataclasses import dataclass
from functools import cache
from types import FrameType
from typing import Any

from fxsolve.capture.source import user_line
from fxsolve.errors import CommunicationError
from fxsolve.state.processes import PARTS_ALONE, communicating_part
from fxsolve.state.reach import Reach, walk
from fxsolve.torch_compat.operators import OpOverload, schema_of

_NAMESPACES = frozenset(
    {"c10d", "c10d_functional", "_c10d_functional", "_c10d_functional_autograd", "_dtensor", "symm_mem"}
)


@dataclass(frozen=True)
class Outcome:
    """What a run of a program returned, or raised."""

    value: Any = None
    error: Exception | None = None

    def get(self) -> Any:
        """What it returned; what it raised is raised."""
        if self.error is not None:
            raise self.error
        return self.value


class HappenedError(CommunicationError):
    """The program has communicated; the run stands for the call, and `outcome` is what came of it."""

    def __init__(self, message: str, outcome: Outcome) -> None:
        super().__init__(message)
        self.outcome = outcome


@dataclass
class Line:
    """The line from one run of a program to other processes; `used` says where the program first used it, and how.

    While it is open the program communicates as it does without fxsolve: from there on, the run is only a run, which
    has happened and must not happen again. A closed one is for runs that the user did not ask for.
    """

    is_open: bool = True
    used: str = ""

    def use(self, what: str) -> None:
        """The program is about to communicate by `what`; CommunicationError if it must not, and nothing is sent."""
        problem = called(what)
        if not self.is_open:
            raise CommunicationError(problem)
        self.used = self.used or problem


def called(what: str) -> str:
    """Why a program that calls `what` runs as it was written."""
    return (
        f"{user_line()}: {what} communicates with other processes, which must happen exactly once at each call; "
        f"{PARTS_ALONE}."
    )


@cache
def is_communication(function: OpOverload) -> bool:
    """Whether an operator is a collective, or one that is given a group of processes."""
    arguments = schema_of(function).arguments
    return function.namespace in _NAMESPACES or any(".c10d." in str(argument.type) for argument in arguments)


def is_inside_distributed() -> bool:
    """Whether code of `torch.distributed` runs here, called by the user's code."""
    frame: FrameType | None = sys._getframe(1)
    line = user_line()
    while frame is not None and f"{frame.f_code.co_filename}:{frame.f_lineno}" != line:
        if str(frame.f_globals.get("__name__")).startswith("torch.distributed."):
            return True
        frame = frame.f_back
    return False


def refuse_communication(reach: Reach) -> None:
    """Raise CommunicationError for a program that reaches a module or tensor that communicates by itself."""
    if reason := communicating_part(reach, walk(reach)):
        raise CommunicationError(reason)
