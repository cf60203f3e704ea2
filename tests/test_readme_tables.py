"""The tables of both READMEs say what the benchmarks' JSON files say."""

import json
import re
from pathlib import Path

import pytest

import tables

CASE = {
    "name": "a program",
    "ms": {"eager": 120.0, "fxsolve": 30.0},
    "baseline": "eager",
    "prediction": 3.0,
    "schedule": "jacobi(a)",
    "solved": ["a: jacobi 12 of 64"],
    "equal": True,
    "difference": 0.0,
    "first_call_s": 2.5,
    "stages_s": {"capture": 1.5},
    "ratio": 4.0,
}
RECORD = {
    "device": "a processor",
    "torch": "2.13.0",
    "date": "2026-01-01",
    "settings": {"threads": 1, "repeats": 7},
    "cases": [CASE],
}
TEXT = "before\n<!-- table:some -->\nold\n<!-- end -->\nafter\n"


@pytest.mark.parametrize("path", [tables.README, tables.TABLES], ids=["README", "tools/bench"])
def test_they_are_up_to_date_with_the_measurements(path: Path) -> None:
    text = path.read_text()
    assert tables.updated(text, tables.RESULTS) == text


def test_the_readme_shows_a_program_without_a_gain_too() -> None:
    assert "<!-- headlines -->" in tables.README.read_text()
    gains = re.findall(r"\| (\d+\.\d)x \|", tables.headlines(tables.RESULTS))
    assert min(map(float, gains)) <= 1.1


def test_there_is_a_table_for_every_measurement() -> None:
    names = {str(path.relative_to(tables.RESULTS).with_suffix("")) for path in tables.RESULTS.rglob("*.json")}
    marked = {found["name"] for found in tables.MARKED.finditer(tables.TABLES.read_text())}
    assert names - {"rolling", "capture", "calls"} <= marked
    assert marked


def test_a_table_shows_the_figures_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "some.json").write_text(json.dumps(RECORD))
    text = tables.updated(TEXT, tmp_path)
    assert "old" not in text
    assert "| a program | 120.0 | 30.0 | 4.0x | >= 3x | jacobi 12 of 64 | 0, bitwise | 1.5 | 2.5 |" in text
    assert "a processor, 1 CPU thread, torch 2.13.0, 2026-01-01, median of 7." in text
    assert text.startswith("before\n")
    assert text.endswith("<!-- end -->\nafter\n")


def test_a_contender_that_one_case_lacks_leaves_its_column_empty(tmp_path: Path) -> None:
    lacking = CASE | {"name": "another", "ms": {"fxsolve": 30.0}}
    (tmp_path / "some.json").write_text(json.dumps(RECORD | {"cases": [CASE, lacking]}))
    assert "| another | - | 30.0 | 4.0x |" in tables.updated(TEXT, tmp_path)


def test_sizes_are_rows_and_methods_are_columns(tmp_path: Path) -> None:
    size = {"cell": "GRU", "size": 4, "batch": 1, "steps": 256}
    rows = [size | {"method": method, "ms": 2.0, "iterations": 7} for method in ("Jacobi", "Newton")]
    other = size | {"steps": 512, "method": "Newton", "ms": 3.0, "iterations": 5}
    record = {key: value for key, value in RECORD.items() if key != "cases"} | {"rows": [*rows, other]}
    (tmp_path / "some.json").write_text(json.dumps(record))
    text = tables.updated(TEXT, tmp_path)
    assert "| GRU, H=4, B=1, T=256 | 2.0 (7) | 2.0 (7) |" in text
    assert "| GRU, H=4, B=1, T=512 | - | 3.0 (5) |" in text


def test_writing_twice_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "some.json").write_text(json.dumps(RECORD))
    once = tables.updated(TEXT, tmp_path)
    assert tables.updated(once, tmp_path) == once


def test_a_missing_measurement_says_how_to_make_it(tmp_path: Path) -> None:
    assert "Not measured yet: `python tools/bench/some.py`." in tables.updated(TEXT, tmp_path)
