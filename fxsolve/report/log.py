"""What fxsolve says without being asked: one line for each recording, in Python's logging under the name `fxsolve`.

Lines of level INFO are seen where the program asks for them (`logging.getLogger("fxsolve").setLevel("INFO")`), with
`FXSOLVE_LOGS=info`, or with `TORCH_LOGS=fxsolve`, which torch does by itself for every module that is named there. A
program that is left alone although its first call took long is a warning, once; what is going on in a long first call
is said on a terminal alone.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO, TypeGuard

from fxsolve.errors import InputError
from fxsolve.report.data import ReportData
from fxsolve.report.units import digits, places, time_text

LOGGER = logging.getLogger("fxsolve")
LONG = 2.0  # seconds of a first call after which nobody should have to guess
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def set_up_logging() -> None:
    """Show on standard error what `FXSOLVE_LOGS` asks for; `InputError` for a level that there is not."""
    asked = os.environ.get("FXSOLVE_LOGS", "").strip().lower()
    if not asked:
        return
    if asked not in _LEVELS:
        raise InputError(f"FXSOLVE_LOGS is {asked!r}; choose one of {', '.join(_LEVELS)}")
    LOGGER.setLevel(_LEVELS[asked])
    if not LOGGER.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        LOGGER.addHandler(handler)
        LOGGER.propagate = False


def summary(report: ReportData, seconds: float | None = None) -> str:
    """One line: the program and its call, what became of it and why, the seconds that it took, and the gain."""
    what = f"fxsolve: {report.program}({_short(report.signature)})"
    took = "" if seconds is None else f" in {time_text(seconds)}"
    if report.status == "left alone":
        return f"{what}: left alone{took.replace(' in', ' after')}: {places(report.reason)}"
    return f"{what}: {report.schedule}{took}{_gain(report)}"


def _gain(report: ReportData) -> str:
    if not report.emitted_seconds:
        return ""
    if not report.original_seconds:
        return f"; one call takes {time_text(report.emitted_seconds)}"
    ratio = digits(report.original_seconds / report.emitted_seconds)
    return f"; {ratio}x: {time_text(report.emitted_seconds)} instead of {time_text(report.original_seconds)} a call"


def _short(signature: str) -> str:
    """The start of a signature of many arguments."""
    return signature if len(signature) <= 80 else f"{signature[:76]} ..."


def tell(report: ReportData, seconds: float, may_warn: bool) -> bool:
    """Say what came of a recording that took so long; a warning where nothing did. Returns whether it was one."""
    if seconds < LONG or not may_warn:
        LOGGER.info("%s", summary(report, seconds))
        return False
    LOGGER.warning(
        "%s. Later calls like it run as written; report() has the details, on_left_alone='ignore' leaves this line out",
        summary(report, seconds).rstrip("."),
    )
    return True


@contextmanager
def notice(text: str) -> Iterator[None]:
    """Say on a terminal that `text` goes on, if it takes longer than one wonders.

    One line without a spinner: that would put something of its own in the place of `sys.stdout`, which the program that
    is being recorded may write to.
    """
    stream = sys.stderr
    if not (_is_open(stream) and stream.isatty() and LOGGER.isEnabledFor(logging.WARNING)):
        yield
        return
    start, done = time.perf_counter(), threading.Event()

    def say() -> None:
        if not done.wait(LONG):
            _print(f"fxsolve: {text} ...", stream)

    threading.Thread(target=say, daemon=True).start()
    try:
        yield
    finally:
        done.set()
        if time.perf_counter() - start > LONG:
            _print(f"fxsolve: {text} took {time_text(time.perf_counter() - start)}", stream)


def _print(line: str, stream: TextIO) -> None:
    """Print, unless the program has closed the stream meanwhile."""
    if _is_open(stream):
        print(line, file=stream, flush=True)


def _is_open(stream: TextIO | None) -> TypeGuard[TextIO]:
    """Whether there is a stream to write to: a service may have none, or a closed one."""
    return stream is not None and not getattr(stream, "closed", False)
