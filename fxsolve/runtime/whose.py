"""Who may have decided about a program before this process does."""

from fxsolve.capture.program import Program
from fxsolve.ir.fingerprint import Fingerprint
from fxsolve.runtime.entries import Options
from fxsolve.runtime.group import ballot_about
from fxsolve.runtime.memory import memory_of
from fxsolve.runtime.sources import Nowhere, Source
from fxsolve.state.processes import in_group


def source_of(captured: Program, options: Options, graph: Fingerprint) -> Source:
    """The processes of a group decide alike, as a clock decides; else, the machine remembers."""
    if not options.is_automatic:
        return Nowhere()
    if in_group():
        return ballot_about(captured, options.backend, options.tolerance)
    return memory_of(graph, options.tolerance, options.backend, options.mode == "default", captured.grad)
