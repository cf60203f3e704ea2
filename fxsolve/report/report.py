"""The report of a compiled program: its data, with their renderings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

from rich import box
from rich.console import Group

from fxsolve.errors import InputError
from fxsolve.report.data import ReportData
from fxsolve.report.html import to_html, to_html_part
from fxsolve.report.log import summary
from fxsolve.report.text import render, report_text
from fxsolve.report.to_json import to_json

WRITERS: Mapping[str, Callable[[ReportData], str]] = {
    ".html": to_html,
    ".json": to_json,
    ".md": lambda report: f"```text\n{report_text(report, width=100)}```\n",
    ".txt": report_text,
}


@final
@dataclass(frozen=True, repr=False)
class Report(ReportData):
    """Everything that is known about one compiled program; `str` gives it as plain ASCII, 80 columns wide."""

    def __str__(self) -> str:
        return report_text(self, ascii=True)

    def __repr__(self) -> str:
        return f"<{summary(self).removeprefix('fxsolve: ')}>"

    def __rich__(self) -> Group:
        return render(self, box.SIMPLE_HEAD, "fold")

    def _repr_html_(self) -> str:
        return to_html_part(self)

    def save(self, path: str | Path) -> Path:
        """Write `path` as .html, .json, .md or .txt, and the folders that it lies in; returns the path.

        Raises `InputError` for other endings.
        """
        path = Path(path)
        write = WRITERS.get(path.suffix)
        if write is None:
            raise InputError(f"{path.name}: a report ends in one of {', '.join(WRITERS)}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(write(self), encoding="utf-8")
        return path
