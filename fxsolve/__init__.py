"""fxsolve: solve the loops of a PyTorch program in parallel, with the same values."""

from fxsolve.bench.bench import bench
from fxsolve.compiler import compile, explain
from fxsolve.errors import (
    CaptureError,
    CommunicationError,
    FxSolveError,
    GradientError,
    GuardError,
    InputError,
    LeftAloneError,
    PartitionError,
    PlanError,
    ScheduleError,
    SideEffectError,
    TorchVersionError,
)
from fxsolve.report.log import set_up_logging
from fxsolve.runtime.compiled import Compiled
from fxsolve.runtime.overview import entries
from fxsolve.solvers.certificate import Certificate
from fxsolve.solvers.requests import certificates
from fxsolve.stages import capture, emit, partition, schedule
from fxsolve.version import VERSION
from fxsolve.view.notebook import show_in_notebooks

__version__ = VERSION

__all__ = [
    "CaptureError",
    "Certificate",
    "CommunicationError",
    "Compiled",
    "FxSolveError",
    "GradientError",
    "GuardError",
    "InputError",
    "LeftAloneError",
    "PartitionError",
    "PlanError",
    "ScheduleError",
    "SideEffectError",
    "TorchVersionError",
    "bench",
    "capture",
    "certificates",
    "compile",
    "emit",
    "entries",
    "explain",
    "partition",
    "schedule",
]

set_up_logging()
show_in_notebooks()
