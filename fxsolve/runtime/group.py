"""Processes of one group decide alike: whoever is the first to decide about a program decides for all.

Two processes that time the same program may come to different decisions. Each publishes its own in the store that the
group met by; the first one stays there, and the others adopt it. Nobody waits for anybody.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import final

import torch
from torch import Tensor

from fxsolve.capture.program import Program
from fxsolve.capture.stream import split_entry
from fxsolve.runtime.sources import Source
from fxsolve.runtime.verdict import Verdict
from fxsolve.torch_compat.processes import default_store


@final
@dataclass(frozen=True)
class Ballot(Source):
    """The decision of the group about one program; what each process has measured is its own."""

    key: str

    def find(self) -> Verdict | None:
        try:
            store = default_store()
            return _read(store.get(self.key)) if store.check([self.key]) else None
        except Exception:  # whatever a store raises whose other end is gone
            return None

    def publish(self, own: Verdict) -> Verdict:
        rank = torch.distributed.get_rank()
        named = replace(own, by=f"process {rank} of the group, as its first to decide", measured=None)
        try:
            first = _read(default_store().compare_set(self.key, "", json.dumps(asdict(named))))
        except Exception:
            return own
        return replace(own, by=named.by) if first == named else first


def ballot_about(program: Program, *settings: object) -> Ballot:
    """The ballot about programs of the same calls and shapes, with the same settings; numbers may differ by process."""
    calls = [split_entry(entry)[0] for entry in program.stream.entries]
    tensors = (*program.example.inputs, *program.example.outputs)
    known = (program.name, settings, calls, [*map(_form, tensors)], program.backward is not None)
    return Ballot(f"fxsolve/{hashlib.sha256(repr(known).encode()).hexdigest()}")


def _form(tensor: Tensor) -> tuple[object, ...]:
    return tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device.type


def _read(text: bytes) -> Verdict:
    return Verdict(**json.loads(text))
