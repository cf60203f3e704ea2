"""What users are told of a recording that nobody asks about."""

import logging

import pytest

from fxsolve.errors import LeftAloneError
from fxsolve.report.log import LONG
from fxsolve.report.report import Report
from fxsolve.runtime.cache import Variant
from fxsolve.runtime.entries import Entry
from fxsolve.runtime.telling import Telling

ALONE = Entry(Report("net", "left alone", reason="it reads a clock"))


def levels(caplog: pytest.LogCaptureFixture, option: str, *seconds: float) -> list[str]:
    telling = Telling("net", option)
    with caplog.at_level(logging.INFO, "fxsolve"):
        for one in seconds:
            telling.recorded(ALONE, one)
    return [record.levelname for record in caplog.records]


def test_of_what_is_left_alone_after_long_there_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert levels(caplog, "warn", 2 * LONG, 2 * LONG) == ["WARNING", "INFO"]


@pytest.mark.parametrize(("option", "seconds"), [("warn", LONG / 2), ("ignore", 2 * LONG), ("error", 2 * LONG)])
def test_there_is_none_where_it_was_short_or_not_wanted(
    option: str, seconds: float, caplog: pytest.LogCaptureFixture
) -> None:
    assert levels(caplog, option, seconds) == ["INFO"]


def test_where_that_is_to_be_an_error_the_result_is_one() -> None:
    latest = Variant(ALONE)
    assert Telling("net", "warn").returned(3, latest) == 3
    assert Telling("net", "error").returned(3, None) == 3
    with pytest.raises(LeftAloneError, match="net is left alone: it reads a clock"):
        Telling("net", "error").returned(3, latest)
