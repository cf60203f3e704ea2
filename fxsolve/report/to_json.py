"""The report as JSON."""

import json
import math
from dataclasses import asdict
from typing import Any

from fxsolve.report.data import ReportData

FORMAT = "fxsolve-report-1"


def to_json(report: ReportData) -> str:
    """JSON with the fields of `Report` as keys; numbers that JSON lacks are written "inf", "-inf" and "nan"."""
    return json.dumps({"format": FORMAT, **finite(asdict(report))}, indent=2, allow_nan=False, ensure_ascii=False)


def finite(value: Any) -> Any:
    """Lists and dicts of what JSON has, with the numbers that it lacks as text."""
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
