"""Every error that fxsolve raises on purpose; each message says what was found, where, and what to do."""


class FxSolveError(Exception):
    """Base of all errors raised by fxsolve."""


class CaptureError(FxSolveError):
    """The program cannot be recorded as equations; the original can still run."""


class SideEffectError(CaptureError):
    """The program changes a tensor or an attribute that outlives the call, in a way that cannot be made again."""


class CommunicationError(CaptureError):
    """The program communicates with other processes, in step with them."""


class PartitionError(FxSolveError):
    """The recorded calls cannot be written as the requested system."""


class ScheduleError(FxSolveError):
    """A schedule does not parse, or does not fit its system."""


class PlanError(ScheduleError):
    """A plan that was saved decides about other programs, or other calls, than this one."""


class GuardError(FxSolveError):
    """A value that was read while recording came out differently in this run.

    `number` is that of the guard; of what a loop stops on, which has none, `source` is the line that reads it.
    """

    def __init__(self, message: str, number: int = 0, source: str = "") -> None:
        super().__init__(message)
        self.number = number
        self.source = source


class GradientError(FxSolveError, RuntimeError):
    """A derivative of a compiled program was asked for that it cannot give; torch raises `RuntimeError` there."""


class LeftAloneError(FxSolveError):
    """The program runs as it was written, for the reason in the message; seen with `on_left_alone="error"` alone."""


class InputError(FxSolveError):
    """A file, factory or option given by the user cannot be used."""


class TorchVersionError(FxSolveError, ImportError):
    """This version of torch does not have something private that fxsolve relies on."""
