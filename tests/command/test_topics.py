"""`fxsolve help`."""

import pytest

from fxsolve_command.topics import UnknownTopicError, documents, show


def test_every_document_is_listed_by_its_title(capsys: pytest.CaptureFixture[str]) -> None:
    show(None)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("- ")] == [
        f"- **{name}**: {path.read_text().splitlines()[0].removeprefix('# ')}" for name, path in documents().items()
    ]
    assert "schedules" in documents()


def test_a_topic_is_printed_as_it_stands_in_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    show("schedules")
    assert capsys.readouterr().out.rstrip() == documents()["schedules"].read_text().rstrip()


def test_for_a_topic_that_there_is_not_the_nearest_one_is_named() -> None:
    with pytest.raises(UnknownTopicError, match="there is no topic 'shedules'; did you mean 'schedules'"):
        show("shedules")
