"""What compiled programs show of themselves under names that programs have methods of: theirs go first."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from fxsolve.codegen.code import code_of
from fxsolve.errors import InputError
from fxsolve.report.report import WRITERS, Report
from fxsolve.runtime.cache import Variant
from fxsolve.view.drawing import Drawing
from fxsolve.view.page import to_page


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
    reason, _, _ = report.reason.partition("; ")  # the report has the notes behind it
    why = f" (left alone: {reason})" if report.status == "left alone" else ""
    return Drawing(latest.entry.system, f"{report.schedule}{why}")


def save(runtime: Answering, path: str | Path) -> Path:
    """Write all of it as a page (.html), the report (.json, .md, .txt) or the picture (.svg, .png, .pdf, .dot).

    Returns the path. Raises `InputError` for other endings, and for a picture where no equations are known.
    """
    path = Path(path)
    if path.suffix != ".html":
        return runtime.report().save(path) if path.suffix in WRITERS else draw(runtime).save(path)
    latest = runtime.latest
    module = latest.entry.ready.emitted.module if latest is not None and latest.entry.ready is not None else None
    is_known = latest is not None and latest.entry.system is not None
    code = code_of(module) if module is not None else ""
    page = to_page(runtime.report(), draw(runtime) if is_known else None, code)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path


SHOWN: Mapping[str, Callable[..., Any]] = {"draw": draw, "save": save}
