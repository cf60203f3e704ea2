"""The report as JSON."""

import json
import math
from dataclasses import asdict
from typing import Any

from fxsolve.report.data import ReportData

FORMAT = "fxsolve-report-1"


def to_json(report: ReportData) -> str:
    """JSON with the fields of `Report` as keys; numbers that JSON lacks are written "inf", "-inf" and "nan"."""
    return json.dumps({"format": FORMAT, **_finite(asdict(report))}, indent=2, allow_nan=False, ensure_ascii=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
