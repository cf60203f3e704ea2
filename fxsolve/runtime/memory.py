"""What this machine has decided before: one small file for each system and the settings under which it was decided.

What a file says is a schedule, in its text form, and numbers; it is compiled and compared with the recorded run as any
other schedule is. A file that makes no sense, or asks for looser stop tests than the user does, is as good as none.
"""

from dataclasses import asdict, dataclass, field, replace
from typing import final

import torch

from fxsolve.economy.files import is_there, keep_newest, machine, read_file, remove_file, write_file
from fxsolve.ir.fingerprint import Fingerprint, digest
from fxsolve.runtime.sources import Source
from fxsolve.runtime.verdict import TIGHT, Verdict, read_verdict
from fxsolve.version import VERSION

FORMAT = "fxsolve-decision-1"
_FOLDER = "decisions"
_MOST = 4096  # files


@final
@dataclass(frozen=True)
class Memory(Source):
    """The decision about a system whose digest is `key`, for a user who asks for this `tolerance`."""

    key: str
    tolerance: float | None
    said: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The file, in the folder of all files."""
        return f"{_FOLDER}/{self.key}.json"

    def find(self) -> Verdict | None:
        data = read_file(self.name, FORMAT)
        try:
            if data is None and not is_there(self.name):
                return None
            found = read_verdict(data)
            self._check(found)
        except ValueError as error:
            self.said.append(f"{self.name} of the cache makes no sense, and was ignored: {error}")
            return None
        return replace(found, by="an earlier compilation on this machine")

    def _check(self, found: Verdict) -> None:
        """What makes values less exact is for the user to say."""
        if found.tolerance not in (self.tolerance, TIGHT):
            raise ValueError("it has a tolerance that nobody asked for")

    def publish(self, own: Verdict) -> Verdict:
        if not is_there(self.name):
            keep_newest(_FOLDER, _MOST - 1)
        write_file(self.name, FORMAT, asdict(replace(own, reason=" ".join(own.reason.split()))))
        return own

    def disown(self, error: Exception) -> None:
        self.forget()
        self.said.append(f"{self.name} of the cache does not fit this program, and was dropped: {error}")

    def forget(self) -> None:
        remove_file(self.name)

    def notes(self) -> tuple[str, ...]:
        return tuple(self.said)


def memory_of(graph: Fingerprint, tolerance: float | None, *settings: object) -> Memory:
    """Where the decision about a system is kept, under these settings and those of torch, on this machine."""
    modes = (
        torch.are_deterministic_algorithms_enabled(),
        torch.get_float32_matmul_precision(),
        torch.is_inference_mode_enabled(),
    )
    return Memory(digest((VERSION, machine(), graph, tolerance, settings, modes, _devices())), tolerance)


def _devices() -> tuple[str, ...]:
    """The accelerators, on one of which the program may run."""
    if not torch.accelerator.is_available():
        return ()
    kind = torch.accelerator.current_accelerator()
    return (str(kind), torch.cuda.get_device_name() if kind is not None and kind.type == "cuda" else "")
