"""Communication with other processes: which operators and parts of a program do it, and how a recording treats it.

What communicates must happen once at each call, in step with the other processes: a second run of it waits for partners
that do not come, or adds up something else.
"""

import sys
from dataclasses import dataclass
from functools import cache
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from fxsolve.capture.source import user_line
from fxsolve.capture.state.reach import Reach, ReachedObjects, name_tensors, walk
from fxsolve.errors import CommunicationError
from fxsolve.torch_compat.operators import OpOverload, schema_of

_NAMESPACES = frozenset(
    {"c10d", "c10d_functional", "_c10d_functional", "_c10d_functional_autograd", "_dtensor", "symm_mem"}
)
# Classes of modules and tensors that communicate; those of the last package only wrap a module.
_PLACES = ("torch.distributed.", "torch.nn.parallel.distributed")
_SILENT = "torch.distributed.algorithms."
_PARTS_ALONE = "compile the parts of the program that do not communicate"
_PLAIN = (Tensor, nn.Parameter)
_ORDERS = {
    "DistributedDataParallel": "compile the module inside of it: DistributedDataParallel(fxsolve.compile(module))",
    "FSDPModule": "compile modules inside of it that are not sharded by themselves, before fully_shard is called",
}


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
        f"{_PARTS_ALONE}."
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


def communicating_part(reach: Reach, found: ReachedObjects) -> str:
    """Why a program runs as it was written if a module or tensor that it reaches communicates by itself, or ""."""
    tensors = ((name, tensor) for tensor, name, _ in name_tensors(reach).values() if type(tensor) not in _PLAIN)
    return next((why for name, one in (*found.modules, *tensors) if (why := communicates(one, name))), "")


def refuse_communication(reach: Reach) -> None:
    """Raise CommunicationError for a program that reaches a module or tensor that communicates by itself."""
    if reason := communicating_part(reach, walk(reach)):
        raise CommunicationError(reason)


def communicates(value: Any, name: str) -> str:
    """Why what has this name communicates by itself, a tensor that is spread over processes for example, or ""."""
    kind = _distributed_kind(type(value))
    if not kind:
        return ""
    order = _ORDERS.get(kind, _PARTS_ALONE)
    return f"{name or 'the program'} is a {kind}, which communicates between processes by itself; {order}."


@cache
def _distributed_kind(kind: type) -> str:
    """The name of the class behind `kind` that communicates, or ""."""
    places = ((base.__name__, f"{base.__module__}.") for base in kind.__mro__)
    names = [name for name, place in places if place.startswith(_PLACES) and not place.startswith(_SILENT)]
    return next((name for name in names if name in _ORDERS), "".join(names[:1]))


def in_group() -> bool:
    """Whether this process is one of several in a group."""
    distributed = torch.distributed
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
