"""The report of a compiled program: its data, with their rendering as text."""

from dataclasses import dataclass
from typing import final

from fxsolve.report.data import ReportData
from fxsolve.report.text import report_text


@final
@dataclass(frozen=True)
class Report(ReportData):
    """Everything that is known about one compiled program; `str` gives it as plain ASCII, 80 columns wide."""

    def __str__(self) -> str:
        return report_text(self, ascii=True)
