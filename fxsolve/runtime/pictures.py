"""What compiled programs show of themselves under names that programs have methods of: theirs go first."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from fxsolve.errors import InputError
from fxsolve.report.report import WRITERS, Report
from fxsolve.runtime.cache import Variant
from fxsolve.view.drawing import Drawing


class Answering(Protocol):
    """What answers the calls of a program."""

    @property
    def latest(self) -> Variant | None: ...

    def report(self) -> Report: ...


def draw(runtime: Answering) -> Drawing:
    """A picture of the equations of the latest call and of what runs; notebooks show it, `save` writes it.

    Raises `InputError` where no equations are known.
    """
    latest, report = runtime.latest, runtime.report()
    if latest is None or latest.entry.system is None:
        raise InputError(f"there is nothing to draw: {report.reason or 'no equations are known'}")
    why = f" (left alone: {report.reason})" if report.status == "left alone" else ""
    return Drawing(latest.entry.system, f"{report.schedule}{why}")


def save(runtime: Answering, path: str | Path) -> Path:
    """Write the report (.html, .json, .md, .txt) or the picture (.svg, .png, .pdf, .dot); returns the path."""
    return runtime.report().save(path) if Path(path).suffix in WRITERS else draw(runtime).save(path)


SHOWN: Mapping[str, Callable[..., Any]] = {"draw": draw, "save": save}
