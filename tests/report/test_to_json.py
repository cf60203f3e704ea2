"""A report comes back from JSON unchanged."""

import json
import math
from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxsolve.errors import InputError
from fxsolve.report.data import CandidateReport, Check, LoopReport, SolveReport
from fxsolve.report.from_json import from_json
from fxsolve.report.report import Report
from fxsolve.report.to_json import to_json
from fxsolve.solvers.certificate import Certificate
from fxsolve.solvers.solution import Solution
from tests.report.samples import CHUNKS, GRU, LEFT_ALONE

text = st.text(max_size=8)
counts = st.integers(0, 10**6)
numbers = st.floats(allow_nan=False)
seconds = st.none() | numbers
candidates = st.builds(
    CandidateReport, text, text, seconds, st.sampled_from(["measured", "derived", "not tried"]), text
)
loops = st.builds(
    LoopReport,
    name=text,
    source=text,
    length=counts,
    calls=counts,
    reads=st.lists(text, max_size=3).map(tuple),
    chosen=candidates,
    rejected=st.lists(candidates, max_size=2).map(tuple),
    depth=st.none() | counts,
    causal=text,
    affine=st.booleans(),
    step_seconds=seconds,
    sweep_seconds=seconds,
    sweeps=st.none() | counts,
)
solutions = st.builds(Solution, text, text, counts, counts, st.sampled_from(["exact", "converged"]), numbers, counts)
certificates = st.builds(
    Certificate,
    solutions,
    numbers,
    st.booleans(),
    counts,
    seconds,
    st.sampled_from(["jacobian", "none"]),
    seconds,
    text,
)
reports = st.builds(
    Report,
    program=text,
    status=st.sampled_from(["emitted", "left alone"]),
    reason=text,
    signature=text,
    schedule=text,
    loops=st.lists(loops, max_size=2).map(tuple),
    notes=st.lists(text, max_size=2).map(tuple),
    calls=counts,
    draws=counts,
    guards=counts,
    seconds=st.lists(st.tuples(text, numbers), max_size=2).map(tuple),
    original_seconds=seconds,
    emitted_seconds=seconds,
    check=st.none() | st.builds(Check, numbers, st.booleans(), numbers),
    runs=st.lists(st.builds(SolveReport, text, text, counts, counts, text, numbers, counts), max_size=2).map(tuple),
    certificates=st.lists(certificates, max_size=2).map(tuple),
)


@given(reports)
@settings(max_examples=60, deadline=None)
def test_a_report_comes_back_from_json_unchanged(report: Report) -> None:
    assert from_json(to_json(report)) == report


@pytest.mark.parametrize("report", [GRU, CHUNKS, LEFT_ALONE], ids=lambda report: report.program)
def test_the_keys_are_the_fields_in_their_order(report: Report) -> None:
    assert list(json.loads(to_json(report))) == ["format", *(field.name for field in fields(Report))]


def test_numbers_that_json_lacks_are_written_as_text() -> None:
    report = Report("f", "emitted", check=Check(math.nan, False, math.inf), original_seconds=-math.inf)
    data = json.loads(to_json(report), parse_constant=pytest.fail)
    assert (data["check"]["max_difference"], data["check"]["tolerance"], data["original_seconds"]) == (
        "nan",
        "inf",
        "-inf",
    )
    check = from_json(to_json(report)).check
    assert check is not None
    assert math.isnan(check.max_difference)
    assert check.tolerance == math.inf


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("{", "the text is not JSON"),
        ("[]", 'the key "format" must be "fxsolve-report-1"'),
        ("{}", 'the key "format" must be "fxsolve-report-1"'),
        ('{"format": "fxsolve-report-1"}', "KeyError: 'loops'"),
        (to_json(LEFT_ALONE).replace('"draws"', '"drawings"'), "unexpected keyword argument 'drawings'"),
    ],
)
def test_other_text_is_refused(broken: str, message: str) -> None:
    with pytest.raises(InputError, match="not a report") as caught:
        from_json(broken)
    assert message in str(caught.value)
