"""The report that JSON was written of."""

import json
from typing import Any

from fxsolve.errors import InputError
from fxsolve.report.data import (
    BlockReport,
    CandidateReport,
    Check,
    LoopReport,
    PlannedReport,
    SkipReport,
    SolveReport,
    StructureReport,
    UnitsReport,
)
from fxsolve.report.report import Report
from fxsolve.report.to_json import FORMAT
from fxsolve.solvers.certificate import Certificate
from fxsolve.solvers.solution import Solution
from fxsolve.solvers.trace import SweepTrace, Trace


def from_json(text: str) -> Report:
    """The report that `to_json` wrote; `InputError` for any other text."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not a report: the text is not JSON ({error})") from error
    if not isinstance(data, dict) or data.pop("format", None) != FORMAT:
        raise InputError(f'not a report: the key "format" must be "{FORMAT}"')
    try:
        return _report(data)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"not a report: {type(error).__name__}: {error}") from error


def _report(data: dict[str, Any]) -> Report:
    return Report(
        **{
            **data,
            "loops": tuple(_loop(loop) for loop in data["loops"]),
            "notes": tuple(data["notes"]),
            "seconds": tuple((stage, float(seconds)) for stage, seconds in data["seconds"]),
            "original_seconds": _number(data["original_seconds"]),
            "emitted_seconds": _number(data["emitted_seconds"]),
            "check": _check(data["check"]),
            "gradient_check": _check(data["gradient_check"]),
            "certificates": tuple(_certificate(entry) for entry in data["certificates"]),
            "traces": tuple(_trace(entry) for entry in data["traces"]),
            "structure": _structure(data["structure"]),
            "plan": tuple(map(_planned, data.get("plan", ()))),
            "runs": tuple(SolveReport(**{**run, "change": float(run["change"])}) for run in data["runs"]),
        }
    )


def _loop(data: dict[str, Any]) -> LoopReport:
    return LoopReport(
        **{
            **data,
            "reads": tuple(data["reads"]),
            "carries": tuple(data["carries"]),
            "chosen": _candidate(data["chosen"]),
            "rejected": tuple(_candidate(entry) for entry in data["rejected"]),
            "step_seconds": _number(data["step_seconds"]),
            "sweep_seconds": _number(data["sweep_seconds"]),
        }
    )


def _structure(data: dict[str, Any] | None) -> StructureReport | None:
    if data is None:
        return None
    blocks = (
        BlockReport(**{**one, "reads": tuple(one["reads"]), "seconds": float(one["seconds"])}) for one in data["blocks"]
    )
    units = (UnitsReport(one["units"], float(one["seconds"])) for one in data["units"])
    times = {name: float(data[name]) for name in ("sequential_seconds", "chain_seconds", "slowest_seconds")}
    longest = SkipReport(**data["longest"]) if data["longest"] else None
    return StructureReport(**{**data, **times, "blocks": tuple(blocks), "units": tuple(units), "longest": longest})


def _planned(data: dict[str, Any]) -> PlannedReport:
    graph = tuple((name, digest) for name, digest in data["graph"])
    return PlannedReport(**{**data, "tolerance": _number(data["tolerance"]), "graph": graph})


def _certificate(data: dict[str, Any]) -> Certificate:
    solution = {**data["solution"], "change": float(data["solution"]["change"])}
    numbers = {"residual": float(data["residual"]), "bound": _number(data["bound"]), "rate": _number(data["rate"])}
    return Certificate(**{**data, **numbers, "solution": Solution(**solution)})


def _trace(data: dict[str, Any]) -> Trace:
    sweeps = (SweepTrace(**{**one, "changes": tuple(map(float, one["changes"]))}) for one in data["sweeps"])
    return Trace(**{**data, "sweeps": tuple(sweeps)})


def _candidate(data: dict[str, Any]) -> CandidateReport:
    return CandidateReport(**{**data, "seconds": _number(data["seconds"])})


def _check(data: dict[str, Any] | None) -> Check | None:
    if data is None:
        return None
    difference, tolerance = float(data["max_difference"]), float(data["tolerance"])
    return Check(max_difference=difference, bitwise=bool(data["bitwise"]), tolerance=tolerance)


def _number(value: float | str | None) -> float | None:
    return None if value is None else float(value)
