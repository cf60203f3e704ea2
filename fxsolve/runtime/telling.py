"""What users are told of a recording that nobody asks about: a line of the log, a warning, or an error."""

from typing import Any

from fxsolve.errors import LeftAloneError
from fxsolve.report.log import tell
from fxsolve.runtime.cache import Variant
from fxsolve.runtime.entries import Entry


class Telling:
    """Tells of the recordings of the program `name`; `on_left_alone` is the option of that name."""

    def __init__(self, name: str, on_left_alone: str) -> None:
        self._name = name
        self._is_error = on_left_alone == "error"
        self._is_warned = on_left_alone != "warn"

    def recorded(self, entry: Entry, seconds: float) -> None:
        """A first call took so long, and this came of it; a warning of what is left alone is given once."""
        self._is_warned |= tell(entry.report, seconds, _is_alone(entry) and not self._is_warned)

    def returned(self, result: Any, latest: Variant | None) -> Any:
        """The result of a call; `LeftAloneError` where the original gave it for good, and that is to be an error."""
        if self._is_error and latest is not None and _is_alone(latest.entry):
            raise LeftAloneError(f"{self._name} is left alone: {latest.report.reason}")
        return result


def _is_alone(entry: Entry) -> bool:
    return entry.ready is None and entry.prospect is None
