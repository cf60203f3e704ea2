"""Processes of one group decide alike: whoever is the first to decide about a program decides for all.

Two processes that time the same program may come to different decisions. Each publishes its own in the store that the
group met by; the first one stays there, and the others adopt it. Nobody waits for anybody.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from fxsolve.capture.program import Program
from fxsolve.capture.stream import split_entry
from fxsolve.state.processes import in_group
from fxsolve.torch_compat.processes import default_store

Made = TypeVar("Made")


@dataclass(frozen=True)
class Verdict:
    """What is to run: a schedule, with the tolerance of its stop tests, or the original, for a `reason`."""

    schedule: str
    tolerance: float | None = None
    reason: str = ""
    rank: int | None = None

    @property
    def note(self) -> str:
        """Whose decision this is; "" where it is nobody else's."""
        return "" if self.rank is None else f"decided by process {self.rank} of the group, as its first to decide"


@dataclass(frozen=True)
class Ballot:
    """The decision of the group about one program; without a `key`, every process decides for itself."""

    key: str = ""

    def settle(
        self, decide: Callable[[], tuple[Verdict, Made]], adopt: Callable[[Verdict], Made]
    ) -> tuple[Verdict, Made]:
        """The decision of the group, and what came of it: by this process, or adopted from the first to decide."""
        first = self._find()
        if first is not None:
            return first, adopt(first)
        own, made = decide()
        verdict = self._publish(own)
        return verdict, made if replace(verdict, rank=None) == own else adopt(verdict)

    def _find(self) -> Verdict | None:
        """What one of the processes has decided."""
        if not self.key:
            return None
        try:
            store = default_store()
            return _read(store.get(self.key)) if store.check([self.key]) else None
        except Exception:  # whatever a store raises whose other end is gone
            return None

    def _publish(self, own: Verdict) -> Verdict:
        """The decision of the group, which is the `own` one if no other process was first."""
        if not self.key:
            return own
        named = replace(own, rank=torch.distributed.get_rank())
        try:
            return _read(default_store().compare_set(self.key, "", json.dumps(asdict(named))))
        except Exception:
            return own


def ballot_about(program: Program, *settings: object) -> Ballot:
    """The ballot about programs of the same calls and shapes, with the same settings; numbers may differ by process."""
    if not in_group():
        return Ballot()
    calls = [split_entry(entry)[0] for entry in program.stream.entries]
    tensors = (*program.example.inputs, *program.example.outputs)
    known = (program.name, settings, calls, [*map(_form, tensors)], program.backward is not None)
    return Ballot(f"fxsolve/{hashlib.sha256(repr(known).encode()).hexdigest()}")


def _form(tensor: Tensor) -> tuple[object, ...]:
    return tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device.type


def _read(text: bytes) -> Verdict:
    return Verdict(**json.loads(text))
