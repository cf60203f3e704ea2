"""Times, counts and places as a reader wants them."""

from pathlib import Path

import pytest

from fxsolve.report.units import count, digits, place, places, span, time_text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (12.345, "12.3 s"),
        (1.0, "1.00 s"),
        (0.99996, "1.00 s"),
        (0.00731, "7.31 ms"),
        (0.0009999, "1.00 ms"),
        (22.6e-6, "22.6 us"),
        (3e-9, "3.00 ns"),
        (1234.0, "1234 s"),
        (0.0, "0.00 ns"),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
    ],
)
def test_a_time_has_three_digits_and_the_largest_unit_that_fits(seconds: float | None, text: str) -> None:
    assert time_text(seconds) == text


def test_digits_never_uses_an_exponent() -> None:
    assert [digits(value) for value in (0.5, 9.999, 99.96, 12345.6)] == ["0.50", "10.0", "100", "12346"]


def test_one_is_singular() -> None:
    assert (count(1, "step"), count(0, "step"), count(4096, "step")) == ("1 step", "0 steps", "4,096 steps")


def test_a_span_of_equal_numbers_is_one_number() -> None:
    assert (span([3, 3]), span([16, 12])) == ("3", "12-16")


def test_a_place_below_the_current_folder_is_said_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert place(f"{tmp_path}/models/gru.py:31") == "models/gru.py:31"
    assert place("/elsewhere/gru.py:31") == "/elsewhere/gru.py:31"
    assert place("gru.py:31") == "gru.py:31"
    assert place(f"{tmp_path}/.venv/lib/python3.11/site-packages/flows/maf.py:9") == "flows/maf.py:9"


def test_places_in_a_sentence_are_seen_from_the_current_folder() -> None:
    here, package = Path.cwd() / "model.py", "/usr/lib/python3/site-packages/timm/net.py"
    assert places(f"steps at {here}:3, and ({package}:7)") == "steps at model.py:3, and (timm/net.py:7)"
    assert places("no path, 3:4") == "no path, 3:4"
