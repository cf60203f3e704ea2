"""Reasons to leave a program alone, among them errors that it does not raise itself."""

from fxsolve.errors import LeftAloneError
from fxsolve.plan.schedule import Schedule, is_iterative


class NoLoopError(LeftAloneError):
    """There is nothing to roll."""


class DiffersError(LeftAloneError):
    """The emitted module does not reproduce the recorded run; `guard` is the number of the guard that failed."""

    def __init__(self, message: str, guard: int | None = None) -> None:
        super().__init__(message)
        self.guard = guard


def internal_error(stage: str, error: Exception) -> str:
    """The reason after an error that is the compiler's own."""
    return f"internal error in {stage}: {_text(error)}; please report"


def stray_error(error: Exception, schedule: Schedule) -> str:
    """The reason after an error of what was emitted for this schedule."""
    if not is_iterative(schedule):
        return internal_error("the emitted module", error)
    return (
        "steps that run at once read values on the way to their results that the program never has, and these raised "
        f'{_text(error)}; schedule="gs" runs the steps in order'
    )


def _text(error: Exception) -> str:
    line = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {line}"
